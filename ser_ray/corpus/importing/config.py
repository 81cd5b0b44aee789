"""Configuration of an import of a user's data."""

from dataclasses import dataclass

from ser_ray.corpus.gold.consensus import METHODS
from ser_ray.corpus.source.channels import Channel
from ser_ray.corpus.source.description import ALIGNMENTS, TIME_UNITS, Alignment, TimeUnit
from ser_ray.corpus.store.schema import samples_per_frame
from ser_ray.errors import InputError

MOST_LAG_S = 20.0


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """Configuration of an import.

    Args:
        gold: method that makes the gold standard from single raters; by default a given gold standard is used where
            there is one.
        targets: targets to keep; by default arousal and valence.
        alignment: whether frame i carries the label at its start or its end; the default depends on the layout.
        label_rate_hz: rate to which all labels are resampled, without looking ahead; by default they keep their rate.
        rater_lag_s: delay of the raters after the speech, 0 to 20 s; labels are moved earlier by this time.
        channel: audio channel of recordings that name none: a number from 1, "mean", or by default chosen per file.
        time_unit: unit of times in the layout `table`: "s", "ms", or "frames" at label_rate_hz.
    """

    gold: str | None = None
    targets: tuple[str, ...] = ()
    alignment: Alignment | None = None
    label_rate_hz: float | None = None
    rater_lag_s: float = 0.0
    channel: Channel = None
    time_unit: TimeUnit = "s"

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        if self.gold is not None and self.gold not in METHODS:
            raise InputError(f"gold standard is {self.gold!r}, but must be one of {', '.join(METHODS)}")
        if self.alignment is not None and self.alignment not in ALIGNMENTS:
            raise InputError(f"alignment is {self.alignment!r}, but must be one of {', '.join(ALIGNMENTS)}")
        if self.label_rate_hz is not None:
            samples_per_frame(self.label_rate_hz)
        if not 0 <= self.rater_lag_s <= MOST_LAG_S:
            raise InputError(f"rater lag is {self.rater_lag_s:g} s, but must be 0 to {MOST_LAG_S:g}")
        if self.channel not in (None, "mean") and not (isinstance(self.channel, int) and self.channel > 0):
            raise InputError(f"channel is {self.channel!r}, but must be a number from 1, or mean")
        if self.time_unit not in TIME_UNITS:
            raise InputError(f"time unit is {self.time_unit!r}, but must be one of {', '.join(TIME_UNITS)}")
        if self.time_unit == "frames" and self.label_rate_hz is None:
            raise InputError("time unit is frames: set the number of frames per second with --label-rate HZ")
