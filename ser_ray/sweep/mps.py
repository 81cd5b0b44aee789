"""CUDA MPS on this node: trials that share a GPU run side by side on it, and not in turns."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ser_ray import allocation

CONTROL = "nvidia-cuda-mps-control"
WAIT_S = 30.0


@contextlib.contextmanager
def shared_gpus(wanted: bool, say: Callable[[str], None]) -> Iterator[None]:
    """Run NVIDIA's multi-process service on this node for as long as the context lasts, if it is wanted.

    The service has folders of its own, so that it is neither another user's nor another job's. Where it cannot be
    started the reason is said, and trials take turns on their GPU as they do without it.

    Args:
        wanted: resources.mps.
        say: takes a line.
    """
    if not wanted:
        yield
        return
    folder = Path(tempfile.mkdtemp(prefix="ser_ray_mps_", dir=allocation.temporary()))  # a socket's path must be short
    environment = {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(folder / "log")}
    for path in environment.values():
        Path(path).mkdir()
    before = {name: os.environ.get(name) for name in environment}
    problem = _control(environment, "-d")
    try:
        if problem is None:
            os.environ.update(environment)  # which the processes of trials inherit
            say("CUDA MPS is running on this node: trials share its GPUs side by side")
        else:
            say(f"resources.mps: CUDA MPS cannot be started ({problem}); trials that share a GPU take turns")
        yield
    finally:
        if problem is None:
            ended = _control(environment, stdin="quit\n")
            if ended is not None:
                say(f"CUDA MPS did not end ({ended}); end it by hand: pkill -u $USER {CONTROL}")
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        shutil.rmtree(folder, ignore_errors=True)


def _control(environment: dict[str, str], *arguments: str, stdin: str | None = None) -> str | None:
    """Call NVIDIA's control program; return why it failed, or None."""
    try:
        # into a file: the service that is started keeps a pipe open, and the call would wait for its end
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(
                [CONTROL, *arguments],
                env={**os.environ, **environment},
                input=stdin,
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=WAIT_S,
                check=False,
            )
            said.seek(0)
            text = said.read().strip()
    except FileNotFoundError:
        return f"there is no {CONTROL}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else text or f"exit code {done.returncode}"
