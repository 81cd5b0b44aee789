"""Asks another Python process, which may fail, crash or never answer."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ANSWER_S = 180.0
"""A cold environment on a busy shared disk may take a minute or two to import; a GPU that hangs never answers."""


DEATH_S = 5.0


@dataclass(frozen=True)
class Answer:
    """What a process answered.

    Args:
        lines: that it printed.
        error: why it did not end well; None if it did.
        seconds: that it took.
    """

    lines: tuple[str, ...]
    error: str | None
    seconds: float


def ask(*arguments: str, timeout_s: float = ANSWER_S, variables: Mapping[str, str] | None = None) -> Answer:
    """Run this Python with arguments and return what it answered.

    Args:
        arguments: such as "-c" and code.
        timeout_s: after which it is killed.
        variables: of its environment that are not those of this process.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        printed, complaints = process.communicate(timeout=timeout_s)
        error = _ending(process.returncode, _lines(complaints)) if process.returncode else None
    except subprocess.TimeoutExpired:
        process.kill()
        error = f"no answer within {timeout_s:.0f} s"
        try:
            printed, _ = process.communicate(timeout=DEATH_S)
        except subprocess.TimeoutExpired:  # the kernel waits for a device, and so does the process
            printed = b""
    return Answer(tuple(_lines(printed)), error, time.monotonic() - began)


def _lines(printed: bytes) -> list[str]:
    return [line for line in printed.decode(errors="replace").splitlines() if line.strip()]


def _ending(code: int, complaints: Sequence[str]) -> str:
    """Return why a process ended with a code: the last line of its traceback, or the signal that ended it."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"ended by {name}"
    return complaints[-1].strip() if complaints else f"exit code {code}"
