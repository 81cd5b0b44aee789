"""The file of a guided search's proposals, one JSON object per line, and its recovery after a crash."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_ray.errors import InputError
from ser_ray.files import errors_naming, sync


@dataclass(frozen=True)
class Proposal:
    """A proposed configuration: its number in the sweep, from 0, and its values by dotted field."""

    number: int
    values: dict[str, Any]


class ProposalLog:
    """The file of proposals: whole lines are appended, and a line left incomplete by a crash is cut off."""

    def __init__(self, file: Path) -> None:
        self.file, self.length = file, 0

    def read(self) -> list[Proposal]:
        """Read the recorded proposals; an incomplete last line is ignored."""
        try:
            data = self.file.read_bytes()
        except FileNotFoundError:
            return []
        proposals = []
        lines = data.splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            proposal = _parsed(line)
            if proposal is None and number < len(lines):
                raise InputError(
                    f"{self.file}:{number}: not a proposal: {line[:60]!r}; delete the line and run the sweep again"
                )
            if proposal is not None:
                proposals.append(proposal)
                self.length += len(line)
        return proposals

    def append(self, entry: dict[str, Any]) -> None:
        """Append an entry after the complete lines, and sync it to the disk."""
        new = not self.file.exists()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(entry).encode() + b"\n"
        with errors_naming(self.file), open(os.open(self.file, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
            file.truncate(self.length)
            file.seek(max(0, self.length - 1))
            if file.read(1) not in (b"", b"\n"):
                line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.length += len(line)
        if new:
            sync(self.file.parent)


def _parsed(line: bytes) -> Proposal | None:
    try:
        entry = json.loads(line)
        number, values = entry["number"], entry["values"]
    except (ValueError, KeyError, TypeError):
        return None
    return Proposal(number, values) if isinstance(number, int) and isinstance(values, dict) else None
