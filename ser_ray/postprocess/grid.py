"""The grid of chains that a search compares: median windows, centring, scaling, shifts."""

import math
from dataclasses import dataclass
from numbers import Integral

from ser_ray.errors import InputError

MAX_FRAMES = 10_001
MAX_CHAINS = 20_000_000


@dataclass(frozen=True)
class Grid:
    """All chains of median window, centring, scaling and shift within two bounds; the paper's at 25 Hz by default.

    Windows are 1, 3, ... up to the longest; shifts go up to the largest both ways, or only forward in time. Raises
    InputError if the longest window is even or below 1, the largest shift negative, or the grid too large.
    """

    max_window_frames: int = 501
    max_shift_frames: int = 250
    forward_only: bool = False

    def __post_init__(self) -> None:
        """Check the bounds."""
        window = whole("max_window_frames", self.max_window_frames)
        shift = whole("max_shift_frames", self.max_shift_frames)
        if not (1 <= window <= MAX_FRAMES and window % 2):
            raise InputError(f"max_window_frames is {window}, but must be odd and within 1 to {MAX_FRAMES}")
        if not 0 <= shift <= MAX_FRAMES:
            raise InputError(f"max_shift_frames is {shift}, but must be within 0 to {MAX_FRAMES}")
        # both directions count, since the sums are computed for both
        chains = len(self.windows) * 4 * (2 * shift + 1)
        if chains > MAX_CHAINS:
            raise InputError(
                f"max_window_frames {window} and max_shift_frames {shift} make a grid of {chains:,} chains, but at most"
                f" {MAX_CHAINS:,} are searched: lower one of them"
            )

    @classmethod
    def of_seconds(
        cls,
        max_window_s: float,
        max_shift_s: float,
        label_rate: float,
        longest_frames: int,
        *,
        forward_only: bool = False,
    ) -> "Grid":
        """Make the grid of bounds in seconds, as far as it matters to recordings of at most `longest_frames`.

        A window of more than twice a recording, or a shift by more than all of it, has the same effect as the next
        smaller one. Such chains are left out without loss. The longest window becomes the next odd number of frames
        (20 s at 25 Hz are 501), the largest shift the whole frames within it. The rate is NaN if no recording has a
        second frame.
        """
        if math.isnan(label_rate):
            return cls(1, 0, forward_only)
        half = min(math.floor(max_window_s * label_rate / 2 + 1e-9), longest_frames)
        shift = min(math.floor(max_shift_s * label_rate + 1e-9), longest_frames)
        try:
            return cls(2 * half + 1, shift, forward_only)
        except InputError as error:
            raise InputError(
                f"max_window_s {max_window_s:g} and max_shift_s {max_shift_s:g} at {label_rate:g} frames a second:"
                f" {error}"
            ) from None

    @property
    def windows(self) -> range:
        """Lengths of the median filters in frames, 1 (no filter) first."""
        return range(1, self.max_window_frames + 1, 2)

    @property
    def shifts(self) -> range:
        """Shifts in frames, those backward in time first."""
        return range(0 if self.forward_only else -self.max_shift_frames, self.max_shift_frames + 1)

    def edges_met(self, median_window: int, shift: int) -> str | None:
        """Return the edges of the grid at which a chain lies: beyond them a larger grid may have a better chain.

        "window", "shift" or "window, shift"; None if it lies within. No filter and no shift are no edges.
        """
        met = {"window": median_window == self.max_window_frames > 1, "shift": abs(shift) == self.max_shift_frames > 0}
        return ", ".join(name for name, is_met in met.items() if is_met) or None

    @property
    def chains(self) -> int:
        """Number of chains in the grid."""
        return len(self.windows) * 4 * len(self.shifts)


def whole(name: str, value: object) -> int:
    """Convert a number of frames (of folds, if `name` is "folds") to an int; raise InputError if it is not whole."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        of_frames = "" if name == "folds" else " of frames"
        raise InputError(f"{name} is {value!r}, but must be a whole number{of_frames}")
    return int(value)
