"""Check, before anything runs, that a corpus has the gold standard for a sweep and fits the grid of its searches."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus import Corpus
from ser_ray.corpus.describing.gold_values import is_constant, range_beyond
from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.postprocess.config import SearchConfig
from ser_ray.sweep.spec.config import SweepConfig
from ser_ray.trial import TrialConfig

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
    """List warnings, a line each, about a gold standard that trials can run on but that may be a mistake."""
    return [*constant_targets(configs, corpus), *targets_beyond_scale(configs, corpus)]


def constant_targets(configs: Sequence[TrialConfig], corpus: Corpus) -> list[str]:
    """List warnings about targets with constant gold in train or devel: their CCC is 0/0 and counts 0."""
    used = list(dict.fromkeys((t, c.training.limit_recordings) for c in configs for t in c.model.targets))
    return [
        f"warning: gold of {target} is constant in {partition}: its CCC counts as 0 and lowers the mean CCC that "
        f"chooses the best epoch; list only the other targets in the sweep file, such as "
        "trial: {model: {targets: [arousal]}}"
        for target, limit in used
        for partition in NEEDED_BY
        if is_constant(corpus, partition, target, limit)
    ]


def targets_beyond_scale(configs: Sequence[TrialConfig], corpus: Corpus) -> list[str]:
    """List warnings about targets with gold outside [-1, 1] in train or devel."""
    lines = []
    for target, limit in dict.fromkeys((t, c.training.limit_recordings) for c in configs for t in c.model.targets):
        for partition in NEEDED_BY:
            found = range_beyond(corpus, partition, target, limit)
            if found is not None:
                lines.append(
                    f"warning: gold of {target} goes from {found[0]:.4g} to {found[1]:.4g} in a recording of "
                    f"{partition}: learning rates are chosen for labels from -1 to 1; rescale the labels before the "
                    "import, for example labels from 0 to 100 by (label - 50) / 50"
                )
                break
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
