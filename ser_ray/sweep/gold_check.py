"""Whether a corpus has the gold that a sweep needs, and fits the grid of its searches: asked before anything runs."""

from collections.abc import Sequence

import numpy as np

from ser_ray.corpus import Corpus
from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.postprocess.config import SearchConfig
from ser_ray.sweep.config import SweepConfig
from ser_ray.trial import TrialConfig

NEEDED_BY = {
    "train": "a network learns from it",
    "devel": "it chooses a training's epoch, and the post-processing",
}


def check_gold(sweep: SweepConfig, configs: Sequence[TrialConfig], corpus: Corpus) -> None:
    """Refuse a corpus that lacks what trials of a sweep would fail for in the end.

    Args:
        sweep: the sweep.
        configs: of its trials, as far as they are known.
        corpus: that they are to run on.

    Raises:
        InputError: if train or devel has no recording with gold of a target, devel none that is labelled throughout,
            or the searches' grid is too large.
    """
    default = ((tuple(sweep.given("model.targets", ModelConfig().targets)), None),)
    for targets, limit in dict.fromkeys((c.model.targets, c.training.limit_recordings) for c in configs) or default:
        for partition, why in NEEDED_BY.items():
            _check_partition(corpus, partition, targets, limit, why)
    longest = max(recording.frames for recording in corpus.recordings("devel"))
    try:
        SearchConfig(**sweep.trial.get("search", {})).grid(corpus.label_rate, longest)
    except InputError as error:
        raise InputError(f"{sweep.source.where(('trial', 'search'))}: trial.search: {error}") from None


def _check_partition(corpus: Corpus, partition: str, targets: Sequence[str], limit: int | None, why: str) -> None:
    """Look at the recordings that trials use, one after the other, until each target has been seen."""
    recordings = corpus.recordings(partition)[:limit]
    if not recordings:
        raise InputError(
            f"{corpus.path}: partition {partition} has no recordings, but {why}: import the corpus with some in "
            f"{partition}"
        )
    enough = np.any if partition == "train" else np.all
    missing = list(targets)
    for recording in recordings:
        known = np.isfinite(corpus.gold(recording)) if recording.labelled else np.zeros((1, len(corpus.targets)), bool)
        missing = [target for target in missing if not enough(known[:, corpus.targets.index(target)])]
        if not missing:
            return
    used = f"the {limit} recordings of {partition} that are used" if limit else f"all {len(recordings)} of {partition}"
    labelled = "labelled" if partition == "train" else "labelled throughout"
    raise InputError(
        f"{corpus.path}: of {used}, none is {labelled} for {' and '.join(missing)}, but {why}: label one, or set "
        "trial.model.targets to what is labelled"
    )
