"""What a check found: a level, what it is about, what is there, and the fix."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "FAIL"]
NAME_WIDTH = 10


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Args:
        level: "ok", "warn" for what sweeps survive, "FAIL" for what they do not.
        name: what it is about, a word or two.
        text: what is there.
        fix: what to do about it; empty where nothing is to be done.
    """

    level: Level
    name: str
    text: str
    fix: str = ""

    def line(self, host: str = "") -> str:
        """Return it as one line.

        Args:
            host: what the line begins with; empty for nothing.
        """
        start = f"{host}  " if host else ""
        fix = f"; fix: {self.fix}" if self.fix else ""
        return f"{start}{self.level:<4}  {self.name:<{NAME_WIDTH}}  {in_one_line(self.text + fix)}"


def ok(name: str, text: str) -> Finding:
    """Return that all is well with something."""
    return Finding("ok", name, text)


def warn(name: str, text: str, fix: str) -> Finding:
    """Return that something is not as it should be, which sweeps survive."""
    return Finding("warn", name, text, fix)


def fail(name: str, text: str, fix: str) -> Finding:
    """Return that something is so that no sweep can run here."""
    return Finding("FAIL", name, text, fix)


def in_one_line(text: str) -> str:
    """Return a text with each stretch of white space as one blank."""
    return " ".join(text.split())


def size(count: float) -> str:
    """Return a number of bytes as people read it, in powers of 1000."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            value = count / factor
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{count / 1e3:.0f} kB"
