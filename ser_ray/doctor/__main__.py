"""`ser-ray doctor`: check whether this machine, or this node of a job, is fit to run sweeps; print a line per check."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ser_ray import allocation, provenance
from ser_ray.doctor import corpus, gpus, machine, results, software, temporary
from ser_ray.doctor.finding import Finding, in_one_line
from ser_ray.errors import InputError
from ser_ray.files import write_text
from ser_ray.gpus.run_python import PythonOutput, run_python
from ser_ray.gpus.visible import VisibleGpus, list_gpus, probe, visible_gpus


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line per check and a summary; return 0 if the machine is fit, 1 if not."""
    arguments = _parser().parse_args(argv)
    host = provenance.host_name()
    start = host if allocation.nodes() > 1 else ""
    torch, ray = _imports()
    visible = visible_gpus(torch, list_gpus())
    found = []
    for finding in _findings(torch, ray, visible, arguments):
        print(finding.line(start), flush=True)
        found.append(finding)
    problems = [in_one_line(f"{finding.name}: {finding.text}") for finding in found if finding.level == "FAIL"]
    if arguments.record is not None:
        gpu_ids = visible.working  # as CUDA_VISIBLE_DEVICES names them
        record = {"host": host, "fit": not problems, "cpus": allocation.cpus(), "gpus": len(gpu_ids)}
        _write(arguments.record, json.dumps({**record, "gpu_ids": gpu_ids, "problems": problems}) + "\n")
    print(summary(host, found))
    return 1 if problems else 0


def summary(host: str, found: Sequence[Finding]) -> str:
    """Summarise in a sentence whether a host is fit."""
    warned, failed = ([f for f in found if f.level == level] for level in ("warn", "FAIL"))
    warnings = f" ({len(warned)} warning{'s' if len(warned) > 1 else ''})" if warned else ""
    if failed:
        names = ", ".join(dict.fromkeys(finding.name for finding in failed))
        return f"{host} is not fit to run sweeps; failed checks: {names}{warnings}"
    return f"{host} is fit to run sweeps{warnings}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("ser-ray doctor", description="Check whether this machine is fit to run sweeps.")
    parser.add_argument(
        "--results", metavar="DIR", type=Path, default=Path("results"), help="results folder to check; default: results"
    )
    parser.add_argument(
        "--corpus", metavar="DIR", type=Path, help="corpus (a folder of shards) to read from this machine"
    )
    parser.add_argument("--record", metavar="FILE", type=Path, help="write the findings as JSON, for programs")
    return parser


def _imports() -> tuple[PythonOutput, PythonOutput]:
    """Import PyTorch and Ray in two separate processes at the same time; the one with PyTorch probes the GPUs."""
    if sys.stderr.isatty():
        print("importing PyTorch and Ray, testing the GPUs ...", file=sys.stderr)
    with ThreadPoolExecutor() as pool:
        torch = pool.submit(probe)
        ray = pool.submit(run_python, "-c", "import ray; print(ray.__version__)")
        return torch.result(), ray.result()


def _findings(
    torch: PythonOutput, ray: PythonOutput, visible: VisibleGpus, arguments: argparse.Namespace
) -> Iterator[Finding]:
    yield from software.findings(torch, ray)
    working = len(visible.working)
    if visible.result is not None:
        yield from gpus.findings(visible.result, whole=visible.whole)
        yield from gpus.triton_findings(working)
    yield from machine.findings(working)
    yield temporary.shared_memory_finding()
    yield from temporary.findings(allocation.temporary())
    yield from results.findings(arguments.results.absolute(), allocation.nodes())
    if arguments.corpus is not None:
        yield corpus.finding(arguments.corpus.absolute())


def _write(path: Path, text: str) -> None:
    try:
        os.stat(f"{path.parent}/.")  # fail if the folder is missing, rather than create it
        write_text(path, text)
    except OSError as error:
        raise InputError(
            f"--record {path} cannot be written ({error.strerror}); name a file in a writable folder"
        ) from error


if __name__ == "__main__":
    from ser_ray.process import run

    run(main)
