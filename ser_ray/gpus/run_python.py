"""Run Python in another process, which may fail, crash or hang."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TIMEOUT_S = 180.0
"""An import that is not cached may take a minute or two on a busy shared disk; a GPU that hangs never answers."""
KILL_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class PythonOutput:
    """Lines that a process printed, its duration, and the reason of its failure; `error` is None if it succeeded."""

    lines: tuple[str, ...]
    error: str | None
    seconds: float


def run_python(
    *arguments: str, timeout_s: float = TIMEOUT_S, variables: Mapping[str, str] | None = None
) -> PythonOutput:
    """Run this Python interpreter with arguments and further environment variables; kill it after `timeout_s`."""
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
        except subprocess.TimeoutExpired:  # the process is stuck in the kernel, which waits for a device
            stdout = b""
    return PythonOutput(tuple(_lines(stdout)), error, time.monotonic() - started)


def _lines(output: bytes) -> list[str]:
    return [line for line in output.decode(errors="replace").splitlines() if line.strip()]


def _error(code: int, stderr: Sequence[str]) -> str:
    """Return the reason of a failure: the signal that ended the process, or the last line of its traceback."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"ended by {name}"
    return stderr[-1].strip() if stderr else f"exit code {code}"
