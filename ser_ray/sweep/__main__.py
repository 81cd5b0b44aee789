"""`python -m ser_ray.sweep FILE.yaml`: plan a sweep, run what of it is missing, show what came out."""

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ser_ray import provenance
from ser_ray.corpus import Corpus, open_corpus
from ser_ray.errors import InputError
from ser_ray.results import SweepFolder, open_sweep
from ser_ray.sweep.changes import keep_changes
from ser_ray.sweep.config import SweepConfig, load_sweep
from ser_ray.sweep.guided import Guided
from ser_ray.sweep.listing import describe_plan, labels, list_trials
from ser_ray.sweep.meeting import Meeting
from ser_ray.sweep.plan import Plan, make_plan
from ser_ray.sweep.quick import shrink
from ser_ray.sweep.resolved import resolved_yaml
from ser_ray.sweep.run import SweepRun, results_unwritable
from ser_ray.sweep.share import read_share
from ser_ray.trial import Trial, TrialConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sweep command.

    Args:
        argv: its arguments; None takes those of this process.

    Returns:
        0 when every planned trial is finished or was stopped by the schedule, 1 if some failed, 75 if interrupted.

    Raises:
        InputError: if the sweep file, the corpus or an option is wrong.
    """
    options = _parser().parse_args(argv)
    config = load_sweep(options.file, options.set, corpus=options.corpus)
    if options.quick:
        config, shrunk = shrink(config)
        if not options.print_folder:
            print("quick:", "; ".join(shrunk))
    share = read_share(options.share)
    if config.guided is not None and not share.whole:
        raise InputError(
            f"--share is {share}, but the trials of a guided search are proposed by one process as it sees what comes "
            "out: run it as one job, on several nodes (sbatch --nodes=N) instead of an array"
        )
    if options.print_folder:
        print((options.results / config.name).resolve())
        return 0
    corpus = _open(config, options.results)
    # trials run in other processes, whose working folder is another
    folder = SweepFolder((options.results / config.name).resolve())
    guided = Guided(config, corpus, folder.path / "suggested.jsonl") if config.guided is not None else None
    plan = make_plan(config, corpus, guided)
    donors = [open_sweep(donor) for donor in options.reuse]
    print(describe_plan(plan, corpus, SweepFolder(options.results / config.name)))
    template = _template(config, corpus, folder, keep=not options.dry_run)
    own = share.keys(trial.key for trial in plan.trials)
    if not share.whole:
        print(f"share {share}: {len(own)} of the {len(plan.trials)} trials")
    trials = [dataclasses.replace(template, key=planned.key, config=planned.config) for planned in plan.trials]
    if options.dry_run:
        cache = options.results / ".cache" / "steps"
        list_trials(plan, trials, folder, cache, donors=donors, everything=options.all)
        return 0
    run = SweepRun(
        config=config,
        resolved=_resolved(plan, corpus, argv),
        folder=folder,
        trials=[trial for trial in trials if trial.key in own],
        labels={key: label for key, label in labels(plan).items() if key in own},
        template=template,
        guided=guided,
        to_propose=plan.to_propose,
        donors=donors,
        tensorboard=options.tensorboard,
        share=share,
        meeting=None if options.meeting is None else Meeting(options.meeting, options.nodes),
    )
    code = run.run(retry_failed=options.retry_failed)
    _show_leaderboard(SweepFolder(options.results / config.name))
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ser-ray sweep",
        description="Run a sweep: train what is missing, search its post-processing, leave parquet in DIR/NAME. "
        "Running it again goes on where it stopped.",
    )
    parser.add_argument("file", type=Path, metavar="FILE.yaml", help="the sweep file")
    parser.add_argument("--corpus", metavar="DIR", help="corpus to use instead of the file's")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: results")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a key, such as training.epochs=10"
    )
    parser.add_argument("--quick", action="store_true", help="shrink the sweep to minutes on a laptop")
    parser.add_argument("--dry-run", action="store_true", help="list the trials and their hours, run nothing")
    parser.add_argument("--all", action="store_true", help="with --dry-run: list every trial of a large plan")
    parser.add_argument("--retry-failed", action="store_true", help="run trials again that failed before")
    parser.add_argument(
        "--reuse",
        action="append",
        default=[],
        metavar="DIR",
        help="take over trials that another sweep, such as results/other, has finished (repeatable)",
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="write files for TensorBoard to DIR/NAME/tensorboard"
    )
    parser.add_argument(
        "--share", default="1/1", metavar="I/N", help="run only the I-th of N equal shares of the plan, beside others"
    )
    parser.add_argument("--print-folder", action="store_true", help="check the sweep file, print its folder of results")
    job = parser.add_argument_group("in a job of slurm/launch.sh")
    job.add_argument("--meeting", type=Path, metavar="DIR", help="where the nodes of the job meet")
    job.add_argument("--nodes", type=int, default=1, metavar="N", help="how many the job has")
    return parser


def _open(config: SweepConfig, results: Path) -> Corpus:
    from ser_ray.corpus.synthetic import BUILT_IN, built_in

    # made once and beside the results, which all nodes of a cluster see
    path = built_in(config.corpus, results / ".corpora") if config.corpus in BUILT_IN else Path(config.corpus)
    return open_corpus(path.resolve())


def _template(config: SweepConfig, corpus: Corpus, folder: SweepFolder, *, keep: bool) -> Trial:
    """Return a trial with what all trials of a sweep have in common; `keep` writes what its rows refer to."""
    try:
        changes = keep_changes(folder) if keep else None
    except OSError as error:
        raise results_unwritable(folder, error) from error
    return Trial(
        key="",
        config=TrialConfig(),
        corpus=corpus,
        sweep=config.name,
        folder=folder,
        git_commit=provenance.git_commit(),
        git_diff=changes,
    )


def _resolved(plan: Plan, corpus: Corpus, argv: Sequence[str] | None) -> str:
    command = shlex.join(["python", "-m", "ser_ray.sweep", *(sys.argv[1:] if argv is None else argv)])
    return resolved_yaml(plan, [f"corpus: {corpus.name} in {corpus.path}", f"command: {command}"])


def _show_leaderboard(folder: SweepFolder) -> None:
    from ser_ray.report.leaderboard import main as leaderboard

    if folder.keys("trials"):
        leaderboard([str(folder.path), "--top", "10"])
    print(f"results: {folder.path}    report: python -m ser_ray report {shlex.quote(str(folder.path))}")


if __name__ == "__main__":
    from ser_ray.cli import run

    run(main)
