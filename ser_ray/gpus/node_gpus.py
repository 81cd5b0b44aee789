"""Which GPU of its node a trial runs on: the one that Ray assigned, unless that one was found faulty.

Trials are processes that know nothing of each other, and a fault of a GPU ends the trial's process. So they share a
folder of the node, with a file for each running trial, locked while it lives, that holds its GPU and its share; and a
file for each GPU that counts its faults in a row.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

FAULTS_IN_A_ROW = 2
"""After so many, with no epoch between, a GPU is probed, and no longer used."""


class NodeGpus:
    """The GPUs of this node that the trials of one cluster share, through a folder on the node.

    `ids` are the GPUs as CUDA_VISIBLE_DEVICES names them.
    """

    def __init__(self, folder: Path, ids: Sequence[str]) -> None:
        self._folder, self._ids = folder, tuple(ids)
        folder.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def place(self, assigned: str, share: float, avoid: Collection[str] = ()) -> Iterator[str]:
        """Yield the GPU for a trial, which holds its share for as long as the context, or this process, lasts.

        It is the one that Ray assigned, unless that one is set aside or to be avoided and another has room.
        """
        with contextlib.ExitStack() as stack:
            with self._locked():
                chosen = self._choose(assigned, share, avoid)
                held = stack.enter_context(open(self._folder / f"trial-{os.getpid()}", "w", encoding="utf-8"))
                fcntl.flock(held, fcntl.LOCK_EX)
                print(chosen, share, file=held, flush=True)
            yield chosen

    def worked(self, gpu: str) -> None:
        """Record that a trial finished an epoch on a GPU."""
        self._faults(gpu).unlink(missing_ok=True)

    def fault(self, gpu: str, wrong: Callable[[], str | None]) -> str | None:
        """Record a fault of a GPU, and set it aside if it is not the first in a row; return why, once.

        `wrong` probes the GPU and returns what is wrong with it, if anything. The last GPU of a node is set aside only
        if it computes wrongly, since otherwise the faults may be the trials' own.
        """
        with self._locked():
            file = self._faults(gpu)
            count = len(_read(file).splitlines()) + 1
            file.write_text("fault\n" * count, encoding="utf-8")
            if count < FAULTS_IN_A_ROW or gpu in self.set_aside:
                return None
        found = wrong()  # for seconds, in which others are not to wait
        with self._locked():
            if gpu in self.set_aside or (found is None and not set(self._ids) - self.set_aside - {gpu}):
                return None
            (self._folder / f"aside-{gpu}").touch()
        return f"{count} faults in a row; " + (found or "it computes rightly when it is tried by itself")

    @property
    def set_aside(self) -> set[str]:
        """The GPUs that are not used any more."""
        return {path.name.removeprefix("aside-") for path in self._folder.glob("aside-*")}

    def _choose(self, assigned: str, share: float, avoid: Collection[str]) -> str:
        good = [gpu for gpu in self._ids if gpu not in self.set_aside] or [assigned]
        if assigned in good and assigned not in avoid:
            return assigned
        free = self._free()
        roomy = [gpu for gpu in good if gpu not in avoid and free[gpu] >= share - 1e-4]
        if roomy:
            return max(roomy, key=lambda gpu: free[gpu])
        return assigned if assigned in good else max(good, key=lambda gpu: free.get(gpu, 0.0))

    def _free(self) -> dict[str, float]:
        """Return the share of each GPU that no running trial holds."""
        free = dict.fromkeys(self._ids, 1.0)
        for path in self._folder.glob("trial-*"):
            with path.open("r+", encoding="utf-8") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    gpu, share = file.read().split()
                    free[gpu] = free.get(gpu, 1.0) - float(share)
                else:
                    path.unlink()  # its process is gone
        return free

    def _faults(self, gpu: str) -> Path:
        return self._folder / f"faults-{gpu}"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self._folder / "lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
