"""`python -m ser_ray.sweep FILE.yaml`: plan a sweep, run what of it is missing, show what came out."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ser_ray import provenance
from ser_ray.corpus import Corpus, open_corpus
from ser_ray.results import SweepFolder
from ser_ray.sweep.config import SweepConfig, load_sweep
from ser_ray.sweep.listing import describe_plan, labels, list_trials
from ser_ray.sweep.plan import Plan, make_plan
from ser_ray.sweep.quick import shrink
from ser_ray.sweep.resolved import resolved_yaml
from ser_ray.sweep.run import SweepRun
from ser_ray.trial import Trial


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
        print("quick:", "; ".join(shrunk))
    corpus = _open(config, options.results)
    plan = make_plan(config, corpus)
    folder = SweepFolder(options.results / config.name)
    commit = provenance.git_commit()
    trials = [
        Trial(key=t.key, config=t.config, corpus=corpus, sweep=config.name, folder=folder, git_commit=commit)
        for t in plan.trials
    ]
    print(describe_plan(plan, corpus, folder))
    if options.dry_run:
        list_trials(plan, trials, folder, options.results / ".cache" / "steps")
        return 0
    run = SweepRun(
        config=config,
        resolved=_resolved(plan, corpus, argv),
        folder=SweepFolder(folder.path.resolve()),
        trials=[_resolve_folder(trial) for trial in trials],
        labels=labels(plan),
    )
    code = run.run(retry_failed=options.retry_failed)
    _show_leaderboard(folder)
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
    parser.add_argument("--retry-failed", action="store_true", help="run trials again that failed before")
    return parser


def _open(config: SweepConfig, results: Path) -> Corpus:
    from ser_ray.corpus.synthetic import BUILT_IN, built_in

    # made once and beside the results, which all nodes of a cluster see
    path = built_in(config.corpus, results / ".corpora") if config.corpus in BUILT_IN else Path(config.corpus)
    return open_corpus(path.resolve())


def _resolve_folder(trial: Trial) -> Trial:
    # trials run in other processes, whose working folder is another
    return Trial(**{**vars(trial), "folder": SweepFolder(trial.folder.path.resolve())})


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
