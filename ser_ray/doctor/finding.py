"""Findings of checks, and their format in print."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "FAIL"]
"""A sweep runs despite a "warn", but not after a "FAIL"."""
NAME_WIDTH = 10


@dataclass(frozen=True)
class Finding:
    """Result of a check: level, subject in one word, description, and fix."""

    level: Level
    name: str
    text: str
    fix: str = ""

    def line(self, host: str = "") -> str:
        """Format the finding as one line, which begins with the host if given."""
        start = f"{host}  " if host else ""
        fix = f"; fix: {self.fix}" if self.fix else ""
        return f"{start}{self.level:<4}  {self.name:<{NAME_WIDTH}}  {in_one_line(self.text + fix)}"


def ok(name: str, text: str) -> Finding:
    """Make a finding without a problem."""
    return Finding("ok", name, text)


def warn(name: str, text: str, fix: str) -> Finding:
    """Make a finding of a problem with which sweeps still run."""
    return Finding("warn", name, text, fix)


def fail(name: str, text: str, fix: str) -> Finding:
    """Make a finding of a problem with which no sweep can run here."""
    return Finding("FAIL", name, text, fix)


def in_one_line(text: str) -> str:
    """Replace each run of white space by one blank."""
    return " ".join(text.split())


def size(count: float) -> str:
    """Format a number of bytes with a decimal unit, from kB to TB."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            value = count / factor
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{count / 1e3:.0f} kB"
