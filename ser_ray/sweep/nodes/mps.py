"""CUDA MPS on this node: trials that share a GPU run side by side instead of taking turns."""

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
"""The service's default folder of pipes."""
WAIT_S = 30.0
CLIENT_S = 120.0
"""How long a process may take to import PyTorch, from a cold disk, and to compute a sum."""
CLIENT = "import torch; torch.ones(8, device='cuda').sum().item()"
"""Program that is tried once under the service: if it fails there, each trial would."""


def tried_client() -> str | None:
    """Compute on a GPU in a process of its own; return the reason if that fails, or None."""
    return run_python("-c", CLIENT, timeout_s=CLIENT_S).error


def is_running() -> bool:
    """Check whether processes started here would compute by NVIDIA's service, be it a sweep's or the site's."""
    return (Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY") or OWN_PIPES) / "control").exists()


@contextlib.contextmanager
def shared_gpus(
    enabled: bool, log: Callable[[str], None], client: Callable[[], str | None] = tried_client
) -> Iterator[None]:
    """Run NVIDIA's multi-process service on this node for as long as the context lasts, if it is enabled.

    The service has folders of its own, so that it is shared with no other user and no other job. It numbers its GPUs
    anew from 0; service and trials are therefore given UUIDs. If it cannot be started, or a process that uses it fails
    (`client` returns the reason, or None), the reason is logged, and trials take turns on their GPU as they do without
    the service.
    """
    if not enabled:
        yield
        return
    with contextlib.ExitStack() as stack:
        problem = _start(stack, log)
        if problem is None and (failure := client()) is not None:
            stack.close()
            problem = f"a test process under it failed: {failure}"
        if problem is None:
            log("CUDA MPS is running on this node: trials that share a GPU run in parallel")
        else:
            log(f"resources.mps: CUDA MPS cannot be used ({problem}); trials that share a GPU run in turns")
        yield


def _start(stack: contextlib.ExitStack, log: Callable[[str], None]) -> str | None:
    """Start the service, which ends with the stack; return the reason if that fails, or None."""
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
            return f"the UUIDs of GPUs {','.join(named)} cannot be determined: {error}"
    problem = _control(environment, "-d")
    if problem is not None:
        return problem

    def end() -> None:
        ended = _control(environment, stdin="quit\n")
        if ended is not None:
            log(f"CUDA MPS did not stop ({ended}); stop it by hand: pkill -u $USER {CONTROL}")

    stack.callback(end)
    before = {name: os.environ.get(name) for name in environment}

    def restore() -> None:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})

    os.environ.update(environment)  # inherited by the processes of trials
    stack.callback(restore)
    return None


def _uuids(named: Sequence[str]) -> list[str]:
    """Convert names of GPUs or their slices, numbers or UUIDs, to UUIDs; raise LookupError for an unknown number."""
    if not any(name.isdecimal() for name in named):
        return list(named)
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=WAIT_S, check=True).stdout
    uuids = dict(re.findall(r"^GPU (\d+):.*\(UUID: (GPU-[^)]+)\)", listed, re.MULTILINE))
    absent = [name for name in named if name.isdecimal() and name not in uuids]
    if absent:
        raise LookupError(f"nvidia-smi lists no GPU {', '.join(absent)}")
    return [uuids.get(name, name) for name in named]


def _control(environment: dict[str, str], *arguments: str, stdin: str | None = None) -> str | None:
    """Call NVIDIA's control program; return the reason if it fails, or None."""
    try:
        # into a file: the started service would keep a pipe open, and the call would wait for its end
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
        return f"{CONTROL} is not installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else text or f"exit code {done.returncode}"
