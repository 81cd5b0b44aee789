"""Configure an import: how a user's data becomes a corpus."""

from dataclasses import dataclass

from ser_ray.corpus.gold.consensus import METHODS
from ser_ray.corpus.source.channels import Channel
from ser_ray.corpus.source.description import ALIGNMENTS, TIME_UNITS, Alignment, TimeUnit
from ser_ray.corpus.store.schema import samples_per_frame
from ser_ray.errors import InputError

MOST_LAG_S = 20.0


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """How a user's data becomes a corpus.

    Args:
        gold: how gold is made from single raters; by default a given gold standard is taken where there is one.
        targets: what to keep; by default arousal and valence.
        alignment: whether frame i carries the label at its start or its end; by default what the layout says.
        label_rate_hz: to which all labels are brought, without looking ahead; by default they keep their rate.
        rater_lag_s: how much later than the speech raters were: labels are moved ahead by so much, 0 to 20.
        channel: of the audio, for recordings that name none: a number from 1, "mean", or by default what suits a file.
        time_unit: what times of the layout `table` count: "s", "ms", or "frames" at label_rate_hz.
    """

    gold: str | None = None
    targets: tuple[str, ...] = ()
    alignment: Alignment | None = None
    label_rate_hz: float | None = None
    rater_lag_s: float = 0.0
    channel: Channel = None
    time_unit: TimeUnit = "s"

    def __post_init__(self) -> None:
        """Refuse what no import can do."""
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
            raise InputError("time unit is frames: say how many there are in a second with --label-rate HZ")
