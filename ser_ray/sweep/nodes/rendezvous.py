"""Rendezvous of a job's nodes: a folder on the file system that they share, with a file for each message.

The head publishes its address there, unfit nodes report the reason, and the sweep reports that its cluster was lost or
that it ends deliberately. The job's script reports the nodes whose steps are over, also those that SLURM could not
start.

The creator of the folder closes the rendezvous by removing the file `go`. Every node sees that, since opening a file
that was there asks the server. A new file may be seen late: a network file system may answer from its cache for a
minute.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from ser_ray.sweep.nodes.stop import is_gone

_UNFIT = "unfit-"
_ENDED = "ended-"


@dataclass(frozen=True)
class Rendezvous:
    """Rendezvous, in a folder, of a job with `nodes` nodes."""

    folder: Path
    nodes: int

    @property
    def closed(self) -> bool:
        """Whether the rendezvous is over, so that the nodes end what they run."""
        return is_gone(self.folder / "go")

    def publish_address(self, address: str) -> None:
        """Publish the cluster's address, host:port."""
        self._write("address", address)

    def address(self) -> str | None:
        """Return the address of the cluster, or None while the head has not published it."""
        return self._read().get("address")

    def report_unfit(self, node: str, reason: str) -> None:
        """Report that a node takes no part, with the reason in one line."""
        self._write(f"{_UNFIT}{node}", reason)

    def unfit(self) -> dict[str, str]:
        """Return the nodes that take no part: name -> reason."""
        return self._messages(_UNFIT)

    def ended(self) -> dict[str, str]:
        """Return the nodes whose step is over: name, as SLURM has it -> srun's message.

        A node that takes no part appears here a moment later, perhaps under another name.
        """
        return self._messages(_ENDED)

    @property
    def expected(self) -> int:
        """Number of nodes that have joined or may still join."""
        return self.nodes - max(len(self.unfit()), len(self.ended()))

    def report_lost(self) -> None:
        """Report that the cluster was lost through no fault of the sweep, which may begin again."""
        self._write("lost", "")

    def report_outcome(self) -> None:
        """Report that the driver ends deliberately; a driver that ends without this report was lost."""
        (self.folder / "running").unlink(missing_ok=True)  # possible on a full disk, too

    def _write(self, name: str, text: str) -> None:
        # renamed and not synced: a message is of no use after a crash, and must not wait for a slow disk
        temporary = self.folder / f".{name}.{secrets.token_hex(6)}"
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, self.folder / name)

    def _messages(self, kind: str) -> dict[str, str]:
        return {name.removeprefix(kind): text for name, text in self._read().items() if name.startswith(kind)}

    def _read(self) -> dict[str, str]:
        found = {}
        for entry in os.scandir(self.folder):  # listing a folder asks the server, too
            if entry.name == "address" or entry.name.startswith((_UNFIT, _ENDED)):
                found[entry.name] = Path(entry.path).read_text(encoding="utf-8")
        return found
