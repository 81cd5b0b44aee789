"""`ser-ray submit FILE.yaml`: estimate a sweep's time and print the sbatch line for it; with --go submit it."""

import argparse
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from ser_ray.errors import InputError
from ser_ray.plain_text import counted
from ser_ray.report.terminal import format_age
from ser_ray.slurm.estimate import START_H, Estimate, estimate, limit_s, trials_of_jobs, wall_hours
from ser_ray.slurm.pending import Pending, read_pending
from ser_ray.slurm.request import Request, add_options, format_time, read_request, read_time
from ser_ray.slurm.sbatch import submit_job
from ser_ray.sweep.planning.prepare import add_options as add_sweep_options

SCRIPT, SITE = Path("slurm/launch.sh"), Path("slurm/site.env")
_LOG_OPTIONS = ("-o", "--output", "-e", "--error", "-J", "--job-name", "-D", "--chdir")
"""Options of sbatch that give the log another name or place than slurm/launch.sh does."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the submit command; return 0 if the line was printed (with --go submitted), or if nothing is to do."""
    own, passed = _own_parser().parse_known_args(argv)
    options = _sweep_options(passed)
    request = read_request(own)
    _check_project(Path.cwd())
    pending = read_pending(options)
    print(pending.text)
    if not pending.open and not pending.to_propose:
        done = f"all {counted(len(pending.trials), 'trial')} have already ended in {pending.folder.path}"
        print(f"{done}: nothing to submit{_failed(pending)}")
        return 0
    request, notes = _complete(pending, request, passed)
    line = ["sbatch", *request.options, str(SCRIPT), *passed]
    print("\n".join(notes), shlex.join(line), sep="\n\n", end="\n\n")
    if not own.go:
        print("not submitted: add --go to submit it")
        return 0
    output, number = submit_job(line)
    print("\n".join([output, *_how_to_watch(number, pending, request)]))
    return 0


def _own_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ser-ray submit",
        usage="ser-ray submit FILE.yaml [options of the sweep command] [--go] [options below]",
        description="Check a sweep, estimate its wall-clock time from measured trials, and print the sbatch line for "
        "it. Run this in the project's folder, on a login node.",
        epilog="FILE.yaml and all other options are the sweep command's, such as --corpus, --results, --set, --quick, "
        "--retry-failed, --reuse and --tensorboard (ser-ray sweep --help).",
        allow_abbrev=False,
    )
    parser.add_argument("--go", action="store_true", help="submit the job; without it, nothing is submitted")
    add_options(parser)
    return parser


def _sweep_options(passed: Sequence[str]) -> argparse.Namespace:
    """Parse the options of the sweep command, which are passed on to the job unchanged."""
    if passed and passed[0].startswith("-"):
        raise InputError(f"FILE.yaml must come before {passed[0]}: ser-ray submit FILE.yaml ...")
    parser = argparse.ArgumentParser(prog="ser-ray submit", add_help=False)
    add_sweep_options(parser)
    return parser.parse_args(passed)


def _check_project(here: Path) -> None:
    """Refuse a working folder other than the project's: a job starts where it was submitted."""
    if (here / SCRIPT).is_file() and (here / "ser_ray" / "__init__.py").is_file():
        _check_python(here)
        return
    project = Path(__file__).resolve().parents[2]
    known = (project / SCRIPT).is_file()
    fix = f"cd {shlex.quote(str(project))}" if known else "it contains ser_ray/ and slurm/launch.sh"
    raise InputError(
        f"{here} is not the project's folder: a job starts where it was submitted and runs {SCRIPT} there; "
        f"change to the project's folder first ({fix})"
    )


def _check_python(here: Path) -> None:
    if (here / ".venv" / "bin" / "python").exists() or os.environ.get("SER_RAY_PYTHON"):
        return
    for file in (here / SITE, here / SCRIPT):
        if file.is_file() and re.search(r"^\s*(export\s+)?SER_RAY_PYTHON=", file.read_text(), re.MULTILINE):
            return
    raise InputError(
        f"{here} has no .venv, whose Python a job runs: create it by make env, or set SER_RAY_PYTHON in {SITE} to a "
        "container or an environment elsewhere"
    )


def _complete(pending: Pending, request: Request, passed: Sequence[str]) -> tuple[Request, list[str]]:
    """Fill in what the user left open in the request; return it with notes."""
    resources = pending.config.resources
    if pending.config.guided is not None and request.jobs is not None:
        raise InputError(
            f"--array is {request.jobs}, but a guided search proposes its trials in one process, from the results so "
            "far; omit --array (--nodes N gives that process more nodes)"
        )
    if request.gpus and not resources.gpus:
        raise InputError(
            f"{counted(request.gpus, 'GPU')} requested on each node, but resources.gpus is 0: no trial would use them; "
            "omit --gpus-per-node, or give each trial a share with --set resources.gpus=0.25"
        )
    counts = [len(part) for part in trials_of_jobs(pending, request)]
    on_node = -(-(max(counts) + pending.to_propose) // request.nodes)
    cpus = request.cpus_for(on_node, resources)
    slots = request.slots(cpus, resources)
    if not slots:
        raise InputError(
            f"resources.gpus is {resources.gpus:g}, but {request.gpus} per node are requested: no trial fits; request "
            "more with --gpus-per-node, or fewer with --set resources.gpus=N"
        )
    request = replace(request, cpus_per_task=cpus)
    notes = [_describe_work(pending), _describe_job(request, slots, bool(resources.gpus))]
    if min(counts) == 0 < max(counts):
        notes.append(f"{counts.count(0)} of {len(counts)} jobs would have nothing to train: submit fewer")
    hours, time_notes = _wall_time(pending, request, cpus, passed)
    request, limit_notes = _set_limit(pending, request, hours)
    return request, [*notes, *time_notes, *limit_notes]


def _describe_work(pending: Pending) -> str:
    planned = f"{pending.open} of {counted(len(pending.trials), 'trial')}" if pending.trials else ""
    proposed = f"{pending.to_propose} to be proposed" if pending.to_propose else ""
    return f"to do: {' and '.join(filter(None, (planned, proposed)))}{_failed(pending)}"


def _failed(pending: Pending) -> str:
    return f" ({pending.failed} failed: --retry-failed runs them again)" if pending.failed else ""


def _describe_job(request: Request, slots: int, may_have_gpus: bool) -> str:
    what = f"{request.nodes} nodes, each" if request.nodes > 1 else "1 node"
    if request.jobs is not None:
        what = f"{request.jobs} jobs, each on a node"
    gpus = f" and {counted(request.gpus, 'GPU')}" if request.gpus else ""
    none = "" if gpus or not may_have_gpus else "; no GPUs requested (--gpus-per-node N)"
    cpus = counted(request.cpus_per_task or 0, "CPU")
    return f"job: {what} with {cpus}{gpus}: {counted(slots, 'trial')} in parallel{none}"


def _wall_time(pending: Pending, request: Request, cpus: int, passed: Sequence[str]) -> tuple[float | None, list[str]]:
    """Estimate the hours of the longest job on the slowest devices, None if unknown; return them with notes."""
    if not pending.to_train and not pending.to_propose:
        return wall_hours([], 1), ["wall time: minutes, since no trial is to be trained"]
    found = estimate(pending, request, cpus)
    if not found:
        return None, _how_to_measure(request, passed)
    lines = ["wall time, at most (patience and early stopping shorten it):", *map(_describe_estimate, found)]
    return max(one.wall_hours for one in found), lines


def _describe_estimate(one: Estimate) -> str:
    alone = ", each on a GPU of its own" if one.device.is_gpu else ""
    trials = f"{counted(one.measured, 'trial')} measured; {_age(one.hours)} for one trial after another{alone}"
    rough = "; rough, since other networks were measured: --quick measures these" if one.rough else ""
    return f"  {_age(one.wall_hours)}  on {one.device} ({trials}{rough})"


def _how_to_measure(request: Request, passed: Sequence[str]) -> list[str]:
    kind = "a GPU" if request.gpus else "a CPU"
    one_gpu = replace(request, time=None, nodes=1, cpus_per_task=None, mem=None, jobs=None)
    if one_gpu.gpus_per_node:
        one_gpu = replace(one_gpu, gpus_per_node=f"{one_gpu.gpus_per_node.rpartition(':')[0]}:1".removeprefix(":"))
    step = shlex.join(["srun", *one_gpu.options, "python", "-m", "ser_ray.sweep", *passed, "--dry-run"])
    return [
        f"wall time: unknown, since no such trial was measured on {kind}, in this sweep or those beside it",
        "  for an estimate, submit the same with --quick first, or measure a training step:",
        f"  {step}",
    ]


def _set_limit(pending: Pending, request: Request, hours: float | None) -> tuple[Request, list[str]]:
    """Set the request's time limit; return the request with notes."""
    notes, most = [], pending.config.schedule.max_hours
    if hours is not None and most is not None and most + START_H < hours:
        notes.append(
            f"schedule.max_hours is {most:g}: the run will end before all trials are done; then submit it again"
        )
        hours = most + START_H
    if request.time is None and hours is None:
        return request, [*notes, "limit: that of the partition; --time T sets another"]
    if request.time is None and hours is not None:
        request = replace(request, time=format_time(limit_s(hours)))
        notes.append(f"limit: {request.time}, 1.5 times the estimate in whole quarters of an hour, at most a day")
    if request.time is not None and hours is not None and read_time(request.time) < 3600 * hours:
        notes.append(
            f"limit: {request.time} is less than the work may take; nothing is lost: at the limit every trial saves a "
            "checkpoint, and the job is requeued to continue"
        )
    return request, notes


def _how_to_watch(number: str | None, pending: Pending, request: Request) -> list[str]:
    status = f"  ser-ray status {shlex.quote(str(pending.folder.path))}"
    if number is None:
        return ["to watch it:", "  squeue --me", status]
    lines = ["to watch it:", f"  squeue -j {number}", status]
    if not any(option.startswith(_LOG_OPTIONS) for option in request.more):
        several = request.jobs is not None and request.jobs > 1
        lines.append("  tail ser_ray-*.log      (one for each job)" if several else f"  tail -f ser_ray-{number}.log")
    return lines


def _age(hours: float) -> str:
    return format_age(timedelta(hours=hours))
