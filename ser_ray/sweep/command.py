"""`ser-ray sweep FILE.yaml`: plan a sweep, run its missing trials, show the results."""

import argparse
import contextlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ser_ray.errors import InputError
from ser_ray.results import SweepFolder
from ser_ray.sweep.nodes.heartbeat import Share, read_share
from ser_ray.sweep.nodes.rendezvous import Rendezvous
from ser_ray.sweep.planning.listing import describe_plan, list_trials
from ser_ray.sweep.planning.prepare import add_options, prepare, read_config
from ser_ray.sweep.running.options import RunOptions
from ser_ray.sweep.running.run import run_sweep
from ser_ray.sweep.spec.config import SweepConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sweep command.

    Returns:
        0 when every planned trial is finished or was stopped by the schedule, 1 if some failed, 75 if interrupted.

    Raises:
        InputError: if the sweep file, the corpus or an option is wrong.
    """
    options = _parser().parse_args(argv)
    rendezvous = None if options.meeting is None else Rendezvous(options.meeting, options.nodes)
    try:
        code = _run(options, argv, rendezvous)
    except (InputError, KeyboardInterrupt):  # deliberate ends of the command
        _report_outcome(rendezvous)
        raise
    _report_outcome(rendezvous)
    return code


def _run(options: argparse.Namespace, argv: Sequence[str] | None, rendezvous: Rendezvous | None) -> int:
    config, shrunk = read_config(options)
    share = _share(options.share, config)
    if options.print_folder:
        print((options.results / config.name).resolve())
        return 0
    if shrunk is not None:
        print(shrunk)
    plan = prepare(options, config, keep=not options.dry_run)
    print(describe_plan(plan, options.results / config.name))
    if options.dry_run:
        list_trials(plan, options.results / ".cache" / "steps", everything=options.all)
        return 0
    run_options = RunOptions(
        command=shlex.join(["python", "-m", "ser_ray.sweep", *(sys.argv[1:] if argv is None else argv)]),
        retry_failed=options.retry_failed,
        share=share,
        rendezvous=rendezvous,
        tensorboard=options.tensorboard,
    )
    code = run_sweep(plan, run_options)
    with contextlib.suppress(KeyboardInterrupt):  # the sweep is over: its exit code is kept
        _show_leaderboard(SweepFolder(options.results / config.name))
    return code


def _report_outcome(rendezvous: Rendezvous | None) -> None:
    if rendezvous is not None:
        with contextlib.suppress(OSError):  # the job then begins again, and reports the disk's problem itself
            rendezvous.report_outcome()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ser-ray sweep",
        description="Run a sweep: train the trials that are not finished, search their post-processing, write parquet "
        "tables to DIR/NAME. The same command again resumes the sweep.",
    )
    add_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="list the trials and their estimated hours; run nothing")
    parser.add_argument("--all", action="store_true", help="with --dry-run: list every trial of a large plan")
    parser.add_argument(
        "--share",
        default="1/1",
        metavar="I/N",
        help="run only the I-th of N equal shares of the plan; other drivers can run the others in parallel",
    )
    parser.add_argument(
        "--print-folder", action="store_true", help="check the sweep file and print its results folder; run nothing"
    )
    job = parser.add_argument_group("set by slurm/launch.sh")
    job.add_argument("--meeting", type=Path, metavar="DIR", help="folder of the rendezvous of the job's nodes")
    job.add_argument("--nodes", type=int, default=1, metavar="N", help="number of nodes of the job; default: 1")
    return parser


def _share(text: str, config: SweepConfig) -> Share:
    share = read_share(text)
    if config.guided is not None and not share.whole:
        raise InputError(
            f"--share is {share}, but a guided search proposes its trials in one process, from the results so far: run "
            "it as one job, on several nodes (sbatch --nodes=N) instead of an array"
        )
    return share


def _show_leaderboard(folder: SweepFolder) -> None:
    from ser_ray.report.leaderboard import main as leaderboard

    if folder.keys("trials"):
        leaderboard([str(folder.path), "--top", "10"])
    print(f"results: {folder.path}    report: python -m ser_ray report {shlex.quote(str(folder.path))}")
