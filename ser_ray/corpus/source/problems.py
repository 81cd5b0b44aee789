"""Collect the mistakes in a user's data, so that one run shows several of them and not only the first."""

from collections.abc import Iterator
from contextlib import contextmanager

from ser_ray.errors import InputError

SHOWN = 5


class Problems:
    """Mistakes in one source of data; the final message names the source."""

    def __init__(self, source: object) -> None:
        self._source = source
        self._messages: list[str] = []

    @property
    def count(self) -> int:
        """Number of mistakes noted."""
        return len(self._messages)

    def add(self, message: str) -> None:
        """Note a mistake."""
        self._messages.append(message)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Note an InputError that ends the block, and continue after the block."""
        try:
            yield
        except InputError as error:
            self.add(str(error))

    def refuse(self, remark: str = "") -> None:
        """Raise an InputError if mistakes were noted, with the first few of them, their number, and a remark."""
        count = self.count
        if count == 1:
            raise InputError(self._messages[0] + remark)
        if count:
            lines = [f"{self._source}: {count} mistakes", *(f"  {message}" for message in self._messages[:SHOWN])]
            if count > SHOWN:
                lines.append(f"  and {count - SHOWN} more")
            raise InputError("\n".join(lines) + remark)
