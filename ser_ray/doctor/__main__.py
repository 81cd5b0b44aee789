"""`ser-ray doctor`: is this machine, or this node of a job, fit to run sweeps; a line for each check."""

import argparse
import json
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ser_ray import allocation, provenance
from ser_ray.doctor import gpus, machine, reading, results, software, temporary, triton
from ser_ray.doctor.finding import Finding, in_one_line
from ser_ray.errors import InputError
from ser_ray.gpus import looking
from ser_ray.gpus.asking import Answer, ask
from ser_ray.gpus.listed import listed_gpus
from ser_ray.gpus.looking import Look


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each check and a summary; return 0 if the machine is fit, 1 if not.

    Args:
        argv: arguments of the command line.

    Raises:
        InputError: if the record cannot be written.
    """
    arguments = _parser().parse_args(argv)
    host = provenance.host_name()
    start = host if allocation.nodes() > 1 else ""
    torch, ray = _imports()
    there = looking.look(torch, listed_gpus())
    found = []
    for finding in _findings(torch, ray, there, arguments):
        print(finding.line(start), flush=True)
        found.append(finding)
    problems = [in_one_line(f"{finding.name}: {finding.text}") for finding in found if finding.level == "FAIL"]
    if arguments.record is not None:
        working = list(looking.working(there))
        record = {"host": host, "fit": not problems, "cpus": allocation.cpus(), "gpus": len(working)}
        record["gpu_ids"] = working  # as CUDA_VISIBLE_DEVICES names them
        _write(arguments.record, json.dumps({**record, "problems": problems}) + "\n")
    print(summary(host, found))
    return 1 if problems else 0


def summary(host: str, found: Sequence[Finding]) -> str:
    """Return in a sentence whether a machine is fit.

    Args:
        host: its name.
        found: all findings.
    """
    warned, failed = ([f for f in found if f.level == level] for level in ("warn", "FAIL"))
    warnings = f" ({len(warned)} warning{'s' if len(warned) > 1 else ''})" if warned else ""
    if failed:
        names = ", ".join(dict.fromkeys(finding.name for finding in failed))
        return f"{host} is not fit to run sweeps, because of: {names}{warnings}"
    return f"{host} is fit to run sweeps{warnings}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("ser-ray doctor", description="Is this machine fit to run sweeps.")
    parser.add_argument(
        "--results", metavar="DIR", type=Path, default=Path("results"), help="where results go; default: results"
    )
    parser.add_argument("--corpus", metavar="DIR", type=Path, help="a folder of shards, to be read from here")
    parser.add_argument("--record", metavar="FILE", type=Path, help="write what was found for programs, as JSON")
    return parser


def _imports() -> tuple[Answer, Answer]:
    """Have PyTorch and Ray imported, each by a process of its own, at once."""
    if sys.stderr.isatty():
        print("importing PyTorch and Ray, trying the GPUs ...", file=sys.stderr)
    with ThreadPoolExecutor() as pool:
        torch = pool.submit(looking.probe)
        ray = pool.submit(ask, "-c", "import ray; print(ray.__version__)")
        return torch.result(), ray.result()


def _findings(torch: Answer, ray: Answer, there: Look, arguments: argparse.Namespace) -> Iterator[Finding]:
    yield from software.findings(torch, ray)
    working = len(list(looking.working(there)))
    if there.seen is not None:
        yield from gpus.findings(there.seen, whole=there.whole)
        yield from triton.findings(working)
    yield from machine.findings(working)
    yield temporary.shared_memory_finding()
    yield from temporary.temporary_findings(allocation.temporary())
    yield from results.results_findings(arguments.results.absolute(), allocation.nodes())
    if arguments.corpus is not None:
        yield reading.corpus_finding(arguments.corpus.absolute())


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary_path = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            with temporary_path.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary_path.replace(path)
        finally:
            temporary_path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"--record {path} cannot be written ({error.strerror}); name a file in a folder that can"
        ) from error


if __name__ == "__main__":
    from ser_ray.process import run

    run(main)
