"""CUDA MPS on this node: trials that share a GPU run side by side on it, and not in turns."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ser_ray import allocation
from ser_ray.gpus.run_python import run_python

CONTROL = "nvidia-cuda-mps-control"
OWN_PIPES = "/tmp/nvidia-mps"
"""Where the service has its pipes by default."""
WAIT_S = 30.0
CLIENT_S = 120.0
"""How long a process may take to import PyTorch, from a cold disk, and to compute a sum."""
CLIENT = "import torch; torch.ones(8, device='cuda').sum().item()"
"""What is tried once under the service: where it cannot serve, each trial would fail."""


def tried_client() -> str | None:
    """Return why a process of its own that computes on a GPU failed, or None."""
    return run_python("-c", CLIENT, timeout_s=CLIENT_S).error


def is_running() -> bool:
    """Return whether processes that are started here would compute by NVIDIA's service: a sweep's, or the site's."""
    return (Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY") or OWN_PIPES) / "control").exists()


@contextlib.contextmanager
def shared_gpus(
    enabled: bool, log: Callable[[str], None], client: Callable[[], str | None] = tried_client
) -> Iterator[None]:
    """Run NVIDIA's multi-process service on this node for as long as the context lasts, if it is enabled.

    The service has folders of its own, so that it is neither another user's nor another job's. It numbers the GPUs that
    it is given anew, from 0, so that service and trials are given UUIDs. Where it cannot be started, or a process that
    uses it fails (`client` returns why, or None), the reason is logged, and trials take turns on their GPU as they do
    without it.
    """
    if not enabled:
        yield
        return
    with contextlib.ExitStack() as stack:
        problem = _start(stack, log)
        if problem is None and (failure := client()) is not None:
            stack.close()
            problem = f"a process that used it failed: {failure}"
        if problem is None:
            log("CUDA MPS is running on this node: trials share its GPUs side by side")
        else:
            log(f"resources.mps: CUDA MPS cannot be used ({problem}); trials that share a GPU take turns")
        yield


def _start(stack: contextlib.ExitStack, log: Callable[[str], None]) -> str | None:
    """Start the service, which ends with the stack; return why that failed, or None."""
    folder = Path(tempfile.mkdtemp(prefix="ser_ray_mps_", dir=allocation.temporary()))  # a socket's path must be short
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    environment = {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(folder / "log")}
    for path in environment.values():
        Path(path).mkdir()
    named = allocation.gpus_named()
    if named is not None:
        try:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(_uuids(named))
        except (OSError, subprocess.SubprocessError, LookupError) as error:
            return f"the UUIDs of GPUs {','.join(named)} are not known: {error}"
    problem = _control(environment, "-d")
    if problem is not None:
        return problem

    def end() -> None:
        ended = _control(environment, stdin="quit\n")
        if ended is not None:
            log(f"CUDA MPS did not end ({ended}); end it by hand: pkill -u $USER {CONTROL}")

    stack.callback(end)
    before = {name: os.environ.get(name) for name in environment}

    def restore() -> None:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})

    os.environ.update(environment)  # which the processes of trials inherit
    stack.callback(restore)
    return None


def _uuids(named: Sequence[str]) -> list[str]:
    """Return the UUIDs of GPUs, or of slices of them, that CUDA_VISIBLE_DEVICES names by number or by UUID.

    Raises:
        LookupError: if there is no GPU of a number.
        OSError, subprocess.SubprocessError: if nvidia-smi does not tell.
    """
    if not any(name.isdecimal() for name in named):
        return list(named)
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=WAIT_S, check=True).stdout
    uuids = dict(re.findall(r"^GPU (\d+):.*\(UUID: (GPU-[^)]+)\)", listed, re.MULTILINE))
    absent = [name for name in named if name.isdecimal() and name not in uuids]
    if absent:
        raise LookupError(f"nvidia-smi lists no GPU {', '.join(absent)}")
    return [uuids.get(name, name) for name in named]


def _control(environment: dict[str, str], *arguments: str, stdin: str | None = None) -> str | None:
    """Call NVIDIA's control program; return why it failed, or None."""
    try:
        # into a file: the service that is started keeps a pipe open, and the call would wait for its end
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [CONTROL, *arguments],
                env={**os.environ, **environment},
                input=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=WAIT_S,
                check=False,
            )
            output.seek(0)
            text = output.read().strip()
    except FileNotFoundError:
        return f"there is no {CONTROL}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else text or f"exit code {done.returncode}"
