"""Make the plan of a sweep from the command line and check its gold: the first step of running, listing, submitting."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_ray import provenance
from ser_ray.corpus import Corpus, open_corpus
from ser_ray.corpus.describing.gold_values import is_constant, range_beyond
from ser_ray.errors import InputError, results_unwritable
from ser_ray.files import whole_file
from ser_ray.models import ModelConfig
from ser_ray.postprocess.config import SearchConfig
from ser_ray.results import SweepFolder, is_kept, open_sweep
from ser_ray.sweep.planning.explore import TrialFactory
from ser_ray.sweep.planning.plan import Plan, make_plan
from ser_ray.sweep.spec.config import SweepConfig, load_sweep
from ser_ray.sweep.spec.quick import shrink
from ser_ray.trial import TrialConfig


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
    from ser_ray.corpus.synthetic.generate import BUILT_IN, built_in

    # a built-in corpus is made once, beside the results, where all nodes of a cluster see it
    made = config.corpus in BUILT_IN
    corpus = open_corpus(
        (built_in(config.corpus, options.results / ".corpora") if made else Path(config.corpus)).resolve()
    )
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


NEEDED_BY = {
    "train": "networks are trained on it",
    "devel": "the best epoch and the post-processing are chosen by it",
}


def check_gold(sweep: SweepConfig, configs: Sequence[TrialConfig], corpus: Corpus) -> None:
    """Refuse a corpus without the gold standard that trials need, so that they do not fail in the end.

    Raises:
        InputError: if train or devel has no recording with gold of a target, if devel has none that is labelled
            throughout, or if the searches' grid is too large.
    """
    search = SearchConfig(**sweep.trial.get("search", {}))
    default = ((tuple(sweep.given("model.targets", ModelConfig().targets)), None),)
    for targets, limit in dict.fromkeys((c.model.targets, c.training.limit_recordings) for c in configs) or default:
        _check_partition(corpus, "train", targets, limit)
        # a joint choice needs recordings that are labelled for all targets
        for group in [targets] if search.choice == "joint" else [(target,) for target in targets]:
            _check_partition(corpus, "devel", group, limit)
    longest = max(recording.frames for recording in corpus.recordings("devel"))
    try:
        search.grid(corpus.label_rate, longest)
    except InputError as error:
        raise InputError(f"{sweep.source.where(('trial', 'search'))}: trial.search: {error}") from None


def gold_warnings(configs: Sequence[TrialConfig], corpus: Corpus) -> list[str]:
    """List warnings, a line each, about a gold standard that trials can run on but that may be a mistake.

    It may be constant in train or devel, so that its CCC is 0/0 and counts 0, or outside [-1, 1] there.
    """
    used = list(dict.fromkeys((t, c.training.limit_recordings) for c in configs for t in c.model.targets))
    lines = [
        f"warning: gold of {target} is constant in {partition}: its CCC counts as 0 and lowers the mean CCC that "
        "chooses the best epoch; list only the other targets in the sweep file, such as "
        "trial: {model: {targets: [arousal]}}"
        for target, limit in used
        for partition in NEEDED_BY
        if is_constant(corpus, partition, target, limit)
    ]
    for target, limit in used:
        found = ((partition, range_beyond(corpus, partition, target, limit)) for partition in NEEDED_BY)
        partition, beyond = next((one for one in found if one[1] is not None), ("", None))
        if beyond is not None:
            lines.append(
                f"warning: gold of {target} goes from {beyond[0]:.4g} to {beyond[1]:.4g} in a recording of "
                f"{partition}: learning rates are chosen for labels from -1 to 1; rescale the labels before the "
                "import, for example labels from 0 to 100 by (label - 50) / 50"
            )
    return list(dict.fromkeys(lines))


def _check_partition(corpus: Corpus, partition: str, targets: Sequence[str], limit: int | None) -> None:
    """Refuse a partition that lacks gold: train needs some for each target, devel a recording labelled throughout."""
    recordings, why = corpus.recordings(partition)[:limit], NEEDED_BY[partition]
    if not recordings:
        raise InputError(
            f"{corpus.path}: partition {partition} has no recordings, but {why}: import the corpus again with "
            f"recordings in {partition}"
        )
    columns = [corpus.targets.index(target) for target in targets]
    seen: NDArray[np.bool_] = np.zeros(len(targets), bool)
    for recording in recordings:
        if recording.labelled:
            known = np.isfinite(corpus.gold(recording)[:, columns])
            seen = np.logical_or(seen, known.any(axis=0)) if partition == "train" else np.all(known, axis=0)
        if seen.all():
            return
    missing = targets if partition == "devel" else [t for t, found in zip(targets, seen, strict=True) if not found]
    used = f"the first {limit} recordings of {partition}" if limit else f"all {len(recordings)} of {partition}"
    labelled = "labelled" if partition == "train" else "labelled in all frames"
    raise InputError(
        f"{corpus.path}: of {used}, none is {labelled} for {' and '.join(missing)}, but {why}: add the labels, or set "
        "trial.model.targets to targets that have them"
    )
