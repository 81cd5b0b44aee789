"""The log of one trial: `ser-ray logs DIR KEY`."""

import argparse
import codecs
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, TextIO

from ser_ray.errors import InputError
from ser_ray.plain_text import escaped
from ser_ray.results import SweepFolder, find_key, open_sweep

POLL_SECONDS = 0.5
_BLOCK = 65_536


def find_log(folder: SweepFolder, key: str) -> Path:
    """Find the log of a trial by its key or the key's beginning.

    Raises:
        InputError: if it matches no trial, or several, or one without a log.
    """
    found = find_key(folder, key)
    log = folder.log(found)
    if found not in folder.logged():
        raise InputError(f"trial {found} has no log at {log}")
    return log


def last_lines(path: Path, count: int) -> list[str]:
    """Read at most `count` last lines of a text, without reading the lines before; invalid UTF-8 is replaced."""
    with path.open("rb") as file:
        file.seek(_start_of_last(file, count))
        text = file.read().decode("utf-8", errors="replace")
    return text.removesuffix("\n").split("\n") if text else []


def _start_of_last(file: BinaryIO, count: int) -> int:
    """Find the offset in a file at which its last `count` lines begin."""
    place = end = file.seek(0, os.SEEK_END)
    if count == 0:
        return end
    breaks = -1  # the line break at the end of the file begins no line
    while place > 0:
        before = max(0, place - _BLOCK)
        file.seek(before)
        block = file.read(place - before)
        if place == end and not block.endswith(b"\n"):
            breaks = 0
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            breaks += 1
            if breaks == count:
                return before + at + 1
        place = before
    return 0


def print_log(
    path: Path, out: TextIO, *, last: int | None = None, until: Callable[[], bool], pause: Callable[[], object]
) -> None:
    """Print a text file, all or its last lines, and then the text that is appended to it.

    `until` is called before each read; once it returns True, the next read is the last. `pause` is called between two
    reads. Invalid UTF-8 is replaced.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    with path.open("rb") as file:
        file.seek(0 if last is None else _start_of_last(file, last))
        while True:
            is_last = until()
            if os.fstat(file.fileno()).st_size < file.tell():
                file.seek(0)  # it was truncated
            while block := file.read(_BLOCK):
                out.write(escaped(decoder.decode(block)))
            if is_last:
                out.write(escaped(decoder.decode(b"", final=True)))
                return
            out.flush()
            pause()


def main(argv: Sequence[str] | None = None) -> int:
    """Print the log of a trial; return 0, also when Ctrl-C ends --follow."""
    parser = argparse.ArgumentParser("ser-ray logs", description="Print the log of one trial.")
    parser.add_argument("folder", metavar="DIR", help="results/<sweep>")
    parser.add_argument("key", metavar="KEY", help="key of the trial, or its first characters")
    parser.add_argument("--last", metavar="N", type=int, help="print only the last N lines")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="print new lines as they are written, until Ctrl-C or the end of the trial",
    )
    arguments = parser.parse_args(argv)
    if arguments.last is not None and arguments.last < 1:
        raise InputError(f"--last is {arguments.last}, but must be at least 1")
    folder = open_sweep(arguments.folder)
    log = find_log(folder, arguments.key)
    row = folder.part("trials", log.stem)

    def until() -> bool:
        return not arguments.follow or row.is_file()

    try:
        print_log(log, sys.stdout, last=arguments.last, until=until, pause=lambda: time.sleep(POLL_SECONDS))
    except KeyboardInterrupt:
        if not arguments.follow:
            raise
    return 0
