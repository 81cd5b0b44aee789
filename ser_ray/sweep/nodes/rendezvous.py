"""Where the nodes of a job meet: a folder on the file system that they share, with a word of each in a file.

The head tells its address there, nodes that are not fit say so, the sweep tells that its cluster was lost, and that it
ends as it means to. The script of the job tells which nodes' steps are over, also those that SLURM could not start.

Whoever made the folder ends the meeting by removing the file `go`, which every node sees: to open a file that is there
asks the server, also where a network file system answers from memory for a minute whether a file has come.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

_UNFIT = "unfit-"
_ENDED = "ended-"


@dataclass(frozen=True)
class Meeting:
    """The meeting of a job's nodes.

    Args:
        folder: where they meet.
        nodes: how many the job has.
    """

    folder: Path
    nodes: int

    @property
    def over(self) -> bool:
        """Whether the nodes are to end what they run."""
        try:
            os.close(os.open(self.folder / "go", os.O_RDONLY))
        except FileNotFoundError:
            return True
        except OSError:
            return False  # the file system is in trouble, which ends nothing
        return False

    def announce(self, address: str) -> None:
        """Tell the address of the cluster.

        Args:
            address: host:port.
        """
        self._write("address", address)

    def address(self) -> str | None:
        """Return the address of the cluster, or None while the head has not told it."""
        return self._read().get("address")

    def refuse(self, node: str, reason: str) -> None:
        """Tell that a node takes no part.

        Args:
            node: its name.
            reason: why, in a line.
        """
        self._write(f"{_UNFIT}{node}", reason)

    def unfit(self) -> dict[str, str]:
        """Return the nodes that take no part: name -> why."""
        return self._words_of(_UNFIT)

    def ended(self) -> dict[str, str]:
        """Return the nodes whose step is over, by SLURM's names: name -> what srun said of it.

        A node that takes no part is among them a moment later, perhaps by another name.
        """
        return self._words_of(_ENDED)

    @property
    def left(self) -> int:
        """How many nodes may still come, or are there."""
        return self.nodes - max(len(self.unfit()), len(self.ended()))

    def tell_lost(self) -> None:
        """Tell that the cluster was lost, and the sweep with it, through no fault of theirs: it may be begun again."""
        self._write("lost", "")

    def tell_outcome(self) -> None:
        """Tell that the driver ends as it means to, by removing a file, which a full disk allows, too.

        A driver that ends in any other way leaves it, and was lost.
        """
        (self.folder / "running").unlink(missing_ok=True)

    def _write(self, name: str, text: str) -> None:
        temporary = self.folder / f".{name}.{secrets.token_hex(6)}"
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, self.folder / name)

    def _words_of(self, kind: str) -> dict[str, str]:
        return {name.removeprefix(kind): text for name, text in self._read().items() if name.startswith(kind)}

    def _read(self) -> dict[str, str]:
        """Return the words that are there, by name; listing a folder asks the server, too."""
        found = {}
        for entry in os.scandir(self.folder):
            if entry.name == "address" or entry.name.startswith((_UNFIT, _ENDED)):
                found[entry.name] = Path(entry.path).read_text(encoding="utf-8")
        return found
