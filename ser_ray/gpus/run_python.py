"""Runs Python in another process, which may fail, crash or never answer."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TIMEOUT_S = 180.0
"""A cold environment on a busy shared disk may take a minute or two to import; a GPU that hangs never answers."""
KILL_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class PythonOutput:
    """The lines that a process printed, the seconds it took, and why it failed; `error` is None if it did not."""

    lines: tuple[str, ...]
    error: str | None
    seconds: float


def run_python(
    *arguments: str, timeout_s: float = TIMEOUT_S, variables: Mapping[str, str] | None = None
) -> PythonOutput:
    """Run this Python with arguments, and with further environment variables; kill it after `timeout_s`."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
        error = _error(process.returncode, _lines(stderr)) if process.returncode else None
    except subprocess.TimeoutExpired:
        process.kill()
        error = f"no answer within {timeout_s:.0f} s"
        try:
            stdout, _ = process.communicate(timeout=KILL_TIMEOUT_S)
        except subprocess.TimeoutExpired:  # the kernel waits for a device, and so does the process
            stdout = b""
    return PythonOutput(tuple(_lines(stdout)), error, time.monotonic() - started)


def _lines(output: bytes) -> list[str]:
    return [line for line in output.decode(errors="replace").splitlines() if line.strip()]


def _error(code: int, stderr: Sequence[str]) -> str:
    """Return why a process failed: the last line of its traceback, or the signal that ended it."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"ended by {name}"
    return stderr[-1].strip() if stderr else f"exit code {code}"
