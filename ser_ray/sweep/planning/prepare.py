"""Make the plan of a sweep from the command line, the first step of running, listing and submitting it."""

import argparse
import dataclasses
from pathlib import Path

from ser_ray import provenance
from ser_ray.corpus import Corpus, open_corpus
from ser_ray.errors import InputError, results_unwritable
from ser_ray.files import whole_file
from ser_ray.results import SweepFolder, is_kept, open_sweep
from ser_ray.sweep.planning.explore import TrialFactory
from ser_ray.sweep.planning.fit import check_gold, gold_warnings
from ser_ray.sweep.planning.plan import Plan, make_plan
from ser_ray.sweep.spec.config import SweepConfig, load_sweep
from ser_ray.sweep.spec.quick import shrink


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options that say what to run, for `read_config` and `prepare`."""
    parser.add_argument("file", type=Path, metavar="FILE.yaml", help="the sweep file")
    parser.add_argument("--corpus", metavar="DIR", help="corpus to use instead of the one in the sweep file")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="the results go to DIR/NAME; default: results",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a key of the sweep file, such as training.epochs=10 (repeatable)",
    )
    parser.add_argument("--quick", action="store_true", help="shrink the sweep to minutes on a laptop")
    parser.add_argument("--retry-failed", action="store_true", help="run failed trials again")
    parser.add_argument(
        "--reuse",
        action="append",
        default=[],
        metavar="DIR",
        help="reuse the finished trials of another sweep, such as results/other (repeatable)",
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="write files for TensorBoard to DIR/NAME/tensorboard"
    )


def read_config(options: argparse.Namespace) -> tuple[SweepConfig, str | None]:
    """Read the sweep that options of `add_options` describe; return it and the changes made by --quick, if any.

    Raises:
        InputError: if the sweep file or --set is wrong.
    """
    config = load_sweep(options.file, options.set, corpus=options.corpus)
    if not options.quick:
        return config, None
    config, shrunk = shrink(config)
    return config, f"quick: {'; '.join(shrunk)}"


def prepare(options: argparse.Namespace, config: SweepConfig, *, keep: bool) -> Plan:
    """Make the plan of a sweep and check it against its corpus.

    Args:
        options: parsed options of `add_options`.
        config: of `read_config`.
        keep: store the code's uncommitted changes, to which rows refer; else nothing is written but a built-in corpus.

    Raises:
        InputError: if the corpus, the plan or a source sweep is wrong, or results cannot be written.
    """
    corpus = _open(config, options.results)
    folder = SweepFolder((options.results / config.name).resolve())
    if is_kept(folder):  # its rows would count as finished here
        raise InputError(
            f"{folder.path} contains the stored rows of a sweep that ran elsewhere; choose another folder with "
            "--results DIR"
        )
    commit = provenance.git_commit()
    plan = make_plan(config, TrialFactory(corpus, config.name, folder, commit, keep_changes(folder) if keep else None))
    check_gold(config, [trial.config for trial in plan.trials], corpus)
    return dataclasses.replace(
        plan,
        source_sweeps=tuple(open_sweep(source) for source in options.reuse),
        notes=(*plan.notes, *gold_warnings([trial.config for trial in plan.trials], corpus)),
    )


def _open(config: SweepConfig, results: Path) -> Corpus:
    from ser_ray.corpus.synthetic.generate import BUILT_IN, built_in

    # made once, beside the results, where all nodes of a cluster see it
    path = built_in(config.corpus, results / ".corpora") if config.corpus in BUILT_IN else Path(config.corpus)
    return open_corpus(path.resolve())


def keep_changes(folder: SweepFolder) -> str | None:
    """Store the code's uncommitted changes in a sweep's folder, equal ones once, and return their name, if any."""
    changes = provenance.git_changes()
    name = provenance.changes_name(changes)
    if changes is None or name is None or folder.changes(name).exists():
        return name
    try:
        with whole_file(folder.changes(name), temporary_dir=folder.tmp) as temporary:
            temporary.write_bytes(changes.encode(errors="surrogateescape"))
        return name
    except OSError as error:
        raise results_unwritable(folder.path, error) from error
