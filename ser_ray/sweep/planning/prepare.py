"""From the command line to the trials of a sweep: what running, listing and submitting one begin with."""

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path

from ser_ray import provenance
from ser_ray.corpus import Corpus, open_corpus
from ser_ray.results import SweepFolder, open_sweep
from ser_ray.sweep.planning.changes import keep_changes
from ser_ray.sweep.planning.gold_check import check_gold, gold_warnings
from ser_ray.sweep.planning.guided import Guided
from ser_ray.sweep.planning.listing import describe_plan
from ser_ray.sweep.planning.plan import Plan, make_plan
from ser_ray.sweep.spec.config import SweepConfig, load_sweep
from ser_ray.sweep.spec.quick import shrink
from ser_ray.trial import Trial, TrialConfig
from ser_ray.unwritable import results_unwritable


@dataclass(frozen=True)
class Prepared:
    """A sweep that is planned.

    Args:
        config: the sweep.
        folder: of its results, absolute, since trials run in other processes.
        corpus: what it runs on.
        guided: what proposes further trials, if anything does.
        plan: its trials and what was made of equal ones.
        template: a trial with what all have in common.
        trials: the plan's, in its order.
        donors: other sweeps, whose finished trials are taken over.
        text: the plan in a few lines.
    """

    config: SweepConfig
    folder: SweepFolder
    corpus: Corpus
    guided: Guided | None
    plan: Plan
    template: Trial
    trials: tuple[Trial, ...]
    donors: tuple[SweepFolder, ...]
    text: str


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is to be run, to be read by `prepare`.

    Args:
        parser: gets them.
    """
    parser.add_argument("file", type=Path, metavar="FILE.yaml", help="the sweep file")
    parser.add_argument("--corpus", metavar="DIR", help="corpus to use instead of the file's")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: results")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a key, such as training.epochs=10"
    )
    parser.add_argument("--quick", action="store_true", help="shrink the sweep to minutes on a laptop")
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


def read_config(options: argparse.Namespace) -> tuple[SweepConfig, str | None]:
    """Return the sweep that is asked for, and what --quick has made of it.

    Args:
        options: of `add_options`.

    Raises:
        InputError: if the sweep file or --set is wrong.
    """
    config = load_sweep(options.file, options.set, corpus=options.corpus)
    if not options.quick:
        return config, None
    config, shrunk = shrink(config)
    return config, f"quick: {'; '.join(shrunk)}"


def prepare(options: argparse.Namespace, config: SweepConfig, *, keep: bool) -> Prepared:
    """Return a sweep with its plan.

    Args:
        options: of `add_options`.
        config: of `read_config`.
        keep: write what rows refer to, the code's uncommitted changes; else nothing is written but a built-in corpus.

    Raises:
        InputError: if the corpus, the plan or a donor is wrong, or results cannot be written.
    """
    corpus = _open(config, options.results)
    folder = SweepFolder((options.results / config.name).resolve())
    guided = Guided(config, corpus, folder.path / "suggested.jsonl") if config.guided is not None else None
    plan = make_plan(config, corpus, guided)
    check_gold(config, [one.config for one in plan.trials], corpus)
    warnings = gold_warnings([one.config for one in plan.trials], corpus)
    donors = tuple(open_sweep(donor) for donor in options.reuse)
    template = _template(config, corpus, folder, keep=keep)
    return Prepared(
        config=config,
        folder=folder,
        corpus=corpus,
        guided=guided,
        plan=plan,
        template=template,
        trials=tuple(dataclasses.replace(template, key=one.key, config=one.config) for one in plan.trials),
        donors=donors,
        text="\n".join([describe_plan(plan, corpus, SweepFolder(options.results / config.name)), *warnings]),
    )


def _open(config: SweepConfig, results: Path) -> Corpus:
    from ser_ray.corpus.synthetic.generate import BUILT_IN, built_in

    # made once and beside the results, which all nodes of a cluster see
    path = built_in(config.corpus, results / ".corpora") if config.corpus in BUILT_IN else Path(config.corpus)
    return open_corpus(path.resolve())


def _template(config: SweepConfig, corpus: Corpus, folder: SweepFolder, *, keep: bool) -> Trial:
    try:
        changes = keep_changes(folder) if keep else None
    except OSError as error:
        raise results_unwritable(folder.path, error) from error
    return Trial(
        key="",
        config=TrialConfig(),
        corpus=corpus,
        sweep=config.name,
        folder=folder,
        git_commit=provenance.git_commit(),
        git_diff=changes,
    )
