"""Amount of a corpus's audio that a trial uses, and the hours that takes on devices of known speed."""

from typing import NamedTuple

from ser_ray.corpus import Corpus
from ser_ray.sweep.planning.measured import Speeds
from ser_ray.training.config import TrainingConfig, whole_frames
from ser_ray.training.segments import recordings_of
from ser_ray.trial import Trial

EVALUATION = 1 / 3
"""Time of evaluation as a fraction of training on as much audio: there is no backward pass."""


class Seconds(NamedTuple):
    """Audio of a corpus that one trial uses, in seconds.

    Args:
        trained: in an epoch, without the padding of sequences.
        padded: in an epoch, with sequences padded to their full length.
        devel: of that partition.
        test: of that partition.
    """

    trained: float
    padded: float
    devel: float
    test: float

    def hours(self, seconds_per_audio_second: float, epochs: int, *, padded: bool) -> float:
        """Compute the hours of a training; `padded` counts short sequences as whole ones, as a measured step does."""
        trained = epochs * (self.padded if padded else self.trained)
        evaluated = epochs * self.devel + self.devel + self.test
        return seconds_per_audio_second * (trained + EVALUATION * evaluated) / 3600


class TrialAudio:
    """Amount of audio that trials use, computed once for all with the same corpus, limits and sequence length."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int | None, float | None, float, str], Seconds] = {}

    def of(self, trial: Trial) -> Seconds:
        """Return the audio that a trial uses."""
        config = trial.config.training
        asked = trial.corpus.fingerprint, config.limit_recordings, config.limit_s, config.sequence_s, config.segments
        if asked not in self._known:
            self._known[asked] = _seconds(trial.corpus, config)
        return self._known[asked]

    def largest_batch(self, trial: Trial) -> int:
        """Return the number of segments in a trial's largest batch: the batch size, or all segments if fewer."""
        training = trial.config.training
        return min(training.batch_size, round(self.of(trial).padded / training.sequence_s))

    def measured_hours(self, trial: Trial, speeds: Speeds, share: float) -> float:
        """Estimate the hours of a trial on devices of known speed, at a share of a GPU; on a CPU the share is 1."""
        model, training = trial.config.model, trial.config.training
        seconds = speeds.seconds_per_sample(model, training.batch_size, training.sequence_s, share)
        return self.of(trial).hours(seconds * trial.corpus.sample_rate, training.epochs, padded=False)


def _seconds(corpus: Corpus, config: TrainingConfig) -> Seconds:
    frames = {
        partition: [recording.frames for recording in recordings_of(corpus, partition, config)]
        for partition in ("train", "devel", "test")
    }
    length = whole_frames(config.sequence_s, corpus.label_rate, "training.sequence_s")
    padded = sum(-(-n // length) * length for n in frames["train"])
    # a random segment begins where a whole one fits, so that only recordings shorter than it are padded
    drawn = sum(-(-n // length) * min(length, n) for n in frames["train"])
    counts = (
        drawn if config.segments == "random" else sum(frames["train"]),
        padded,
        sum(frames["devel"]),
        sum(frames["test"]),
    )
    return Seconds(*(count / corpus.label_rate for count in counts))
