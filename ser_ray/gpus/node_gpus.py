"""Choose the GPU of a trial on its node: the one that Ray assigned, unless that one is faulty.

Trials are separate processes that do not communicate, and a fault of a GPU ends the trial's process. So they share a
folder on the node. It has a file per running trial with its GPU and share, locked while the trial lives, and a file per
GPU that counts its consecutive faults.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

FAULTS_IN_A_ROW = 2
"""After this many faults without a finished epoch in between, a GPU is probed and set aside."""


class NodeGpus:
    """GPUs of this node, shared by the trials of one Ray cluster through a folder on the node.

    `ids` are their names in CUDA_VISIBLE_DEVICES.
    """

    def __init__(self, folder: Path, ids: Sequence[str]) -> None:
        self._folder, self._ids = folder, tuple(ids)
        folder.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def place(self, assigned: str, share: float, avoid: Collection[str] = ()) -> Iterator[str]:
        """Choose a GPU for a trial, and reserve its share of it until the context, or this process, ends.

        It is the GPU that Ray assigned, unless that one is set aside, or is to be avoided and another has room.
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
        """Record a fault of a GPU; after FAULTS_IN_A_ROW faults, set it aside and return the reason, once.

        `wrong` probes the GPU and returns its problem, if any. The last GPU of a node is set aside only if the probe
        finds a problem, since otherwise the trials themselves may cause the faults.
        """
        with self._locked():
            file = self._faults(gpu)
            count = len(_read(file).splitlines()) + 1
            file.write_text("fault\n" * count, encoding="utf-8")
            if count < FAULTS_IN_A_ROW or gpu in self.set_aside:
                return None
        found = wrong()  # takes seconds, so the lock is released meanwhile
        with self._locked():
            if gpu in self.set_aside or (found is None and not set(self._ids) - self.set_aside - {gpu}):
                return None
            (self._folder / f"aside-{gpu}").touch()
        return f"{count} faults in a row; " + (found or "it computes correctly when it is tested alone")

    @property
    def set_aside(self) -> set[str]:
        """GPUs that are no longer used."""
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
        """Return the free share of each GPU, not reserved by a running trial."""
        free = dict.fromkeys(self._ids, 1.0)
        for path in self._folder.glob("trial-*"):
            with path.open("r+", encoding="utf-8") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    gpu, share = file.read().split()
                    free[gpu] = free.get(gpu, 1.0) - float(share)
                else:
                    path.unlink()  # its process has ended
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
