"""Rendezvous of a job's nodes: a folder on the file system that they share, with a file for each message.

The head publishes its address there, nodes that are unfit report it, and the sweep reports that its cluster was lost or
that it ends by itself. The job's script reports which nodes' steps are over, also those that SLURM could not start.

Whoever made the folder closes the rendezvous by removing the file `go`, which every node sees: opening a file that was
there asks the server, where a network file system may answer from memory for a minute whether a file has come.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

_UNFIT = "unfit-"
_ENDED = "ended-"


@dataclass(frozen=True)
class Rendezvous:
    """Rendezvous of a job with so many nodes, in a folder."""

    folder: Path
    nodes: int

    @property
    def closed(self) -> bool:
        """Whether the nodes are to end what they run."""
        try:
            os.close(os.open(self.folder / "go", os.O_RDONLY))
        except FileNotFoundError:
            return True
        except OSError:
            return False  # the file system is in trouble, which ends nothing
        return False

    def publish_address(self, address: str) -> None:
        """Publish the cluster's address, host:port."""
        self._write("address", address)

    def address(self) -> str | None:
        """Return the address of the cluster, or None while the head has not published it."""
        return self._read().get("address")

    def report_unfit(self, node: str, reason: str) -> None:
        """Report that a node takes no part, and why in a line."""
        self._write(f"{_UNFIT}{node}", reason)

    def unfit(self) -> dict[str, str]:
        """Return the nodes that take no part: name -> why."""
        return self._messages(_UNFIT)

    def ended(self) -> dict[str, str]:
        """Return the nodes whose step is over, by SLURM's names: name -> what srun said of it.

        A node that takes no part is among them a moment later, perhaps by another name.
        """
        return self._messages(_ENDED)

    @property
    def expected(self) -> int:
        """How many nodes may still come, or are there."""
        return self.nodes - max(len(self.unfit()), len(self.ended()))

    def report_lost(self) -> None:
        """Report that the cluster was lost, and the sweep with it, through no fault of theirs: it may begin again."""
        self._write("lost", "")

    def report_outcome(self) -> None:
        """Report that the driver ends as it means to; one that does not was lost."""
        (self.folder / "running").unlink(missing_ok=True)  # which a full disk allows, too

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
