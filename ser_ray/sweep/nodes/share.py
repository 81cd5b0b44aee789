"""One driver's share of a plan: several jobs run one sweep side by side, each its own trials, and never meet."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ser_ray.errors import InputError


@dataclass(frozen=True)
class Share:
    """Which part of a plan a driver runs.

    Args:
        number: counts the shares, from 1.
        of: how many there are.
    """

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        """Refuse one that is not there."""
        if not 1 <= self.number <= self.of:
            raise ValueError(f"there is no share {self.number} of {self.of}")

    def __str__(self) -> str:
        """Return it as the command line takes it."""
        return f"{self.number}/{self.of}"

    @property
    def whole(self) -> bool:
        """Whether it is all of the plan."""
        return self.of == 1

    def keys(self, planned: Iterable[str]) -> frozenset[str]:
        """Return the keys of this share's trials.

        Dealt out in the order of the keys, which are hashes: shares differ by one trial at most, and none gets all of
        what takes long, such as one sequence length.

        Args:
            planned: the keys of all trials of the plan.
        """
        return frozenset(sorted(set(planned))[self.number - 1 :: self.of])

    def beside(self, other: "Share") -> bool:
        """Return whether a driver with the other share can run beside this one: no trial is in both.

        Args:
            other: of the same plan.
        """
        return self.of == other.of and self.number != other.number


WHOLE = Share()


def read_share(text: str) -> Share:
    """Return the share that a text such as "3/8" names.

    Args:
        text: number and count.

    Raises:
        InputError: if it names none.
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    try:
        if found is None:
            raise ValueError
        return Share(int(found[1]), int(found[2]))
    except ValueError:
        raise InputError(
            f"--share is {text!r}, but must be NUMBER/COUNT with a number from 1 to the count, such as 3/8"
        ) from None
