"""Collects what is wrong with a user's data, so that one run shows several mistakes and not the first alone."""

from collections.abc import Iterator
from contextlib import contextmanager

from ser_ray.errors import InputError

SHOWN = 5


class Problems:
    """Mistakes in one source of data, which the message names."""

    def __init__(self, source: object) -> None:
        self._source = source
        self._messages: list[str] = []

    @property
    def count(self) -> int:
        """How many mistakes were noted."""
        return len(self._messages)

    def add(self, message: str) -> None:
        """Note a mistake."""
        self._messages.append(message)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Note the InputError that ends the block, if any, and go on behind it."""
        try:
            yield
        except InputError as error:
            self.add(str(error))

    def refuse(self, remark: str = "") -> None:
        """Raise an InputError if anything was noted, with the first few mistakes, the number of all, and a remark."""
        count = self.count
        if count == 1:
            raise InputError(self._messages[0] + remark)
        if count:
            lines = [f"{self._source}: {count} mistakes", *(f"  {message}" for message in self._messages[:SHOWN])]
            if count > SHOWN:
                lines.append(f"  and {count - SHOWN} more")
            raise InputError("\n".join(lines) + remark)
