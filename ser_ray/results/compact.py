"""Many parts read as one: the rows of a table, from a single file as far as it holds them, else from their parts.

The parts are the record and stay as they are. Beside their folder lies one file with the rows of those that were there
when it was made (`trials.parquet`); its metadata says which these are, with the time and size of each, so that what was
written anew since is read from its part and what was taken away is not read at all. It may be deleted at any time.
"""

import json
import secrets
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ser_ray.errors import InputError
from ser_ray.results.folder import Stamp, SweepFolder
from ser_ray.results.parts import no_rows, opened_part, read_part, write_whole
from ser_ray.results.schemas import SCHEMA_VERSION, SCHEMAS

SETTLED_NS = 2_000_000_000
"""A part is taken in when it is older than this: one that is written twice within the tick of a coarse clock (two
seconds at most on any disk) could not be told from what it was."""
FEW = 8
"""So many parts are opened sooner than the compacted file is looked through."""
WORTH_PARTS, WORTH_SHARE, WORTH_LEAST = 200, 0.02, 50
"""Compaction is worth it when so many parts, or this share of all, are not in the file; but never for fewer than the
last number, which are read in no time as they are."""

LISTED = ("trials", "postprocessing")
"""Tables that are read whole, to list and rank trials and to tell which searches are in doubt."""

_METADATA = b"ser_ray.parts.1"


@dataclass(frozen=True)
class _Held:
    """What of a table the compacted file holds and is still so.

    Args:
        rows: all its rows.
        places: key -> the rows of that part, from one up to but not including the other.
    """

    rows: pa.Table
    places: Mapping[str, tuple[int, int]]


def read_table(
    folder: SweepFolder,
    name: str,
    *,
    keys: Iterable[str] | None = None,
    columns: Sequence[str] | None = None,
    damaged_too: bool = True,
) -> pa.Table:
    """Read a table of a sweep, all parts that are there now.

    Args:
        folder: the sweep's folder.
        name: the table.
        keys: only these trials; all if None.
        columns: only these columns; all if None.
        damaged_too: True to raise at a part that cannot be read, False to pass over it.

    Returns:
        The rows, in the order of the keys; no rows if there are no parts.

    Raises:
        InputError: if a part cannot be read or has another schema version, naming the file.
    """
    wanted = None if keys is None else set(keys)
    if wanted is not None and len(wanted) <= FEW:
        return _read(folder, name, wanted, columns, _nothing_held(name, columns), damaged_too=damaged_too)[0]
    stamps = folder.stamps(name)
    if wanted is not None:
        stamps = {key: stamp for key, stamp in stamps.items() if key in wanted}
    held = _read_held(folder, name, stamps, columns)
    return _read(folder, name, stamps, columns, held, damaged_too=damaged_too)[0]


def held_keys(folder: SweepFolder, name: str) -> frozenset[str]:
    """Return the trials whose rows are read from the compacted file, since their parts are as they were then."""
    return frozenset(_read_held(folder, name, folder.stamps(name), ["key"]).places)


def compact(folder: SweepFolder, name: str = "trials") -> int:
    """Write the rows of all parts of a table to one file, `<table>.parquet`, in place of the one that was there.

    Parts of the last two seconds, and damaged ones, are left to be read by themselves.

    Args:
        folder: the sweep's folder; the sweep may be running, and another process may compact it too.
        name: the table.

    Returns:
        How many parts the file holds.

    Raises:
        OSError: if the disk is full or cannot be written; what was there before stays.
    """
    # Stamps first, then the rows: of a part that is written anew in between, the stamp will not be that of its rows.
    stamps = _settled(folder, folder.stamps(name))
    rows, counts = _read(folder, name, stamps, None, _read_held(folder, name, stamps, None), damaged_too=False)
    listed = [(key, *stamps[key], count) for key, count in counts.items()]

    def write(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, rows.schema, compression="zstd", write_page_checksum=True) as writer:
            writer.write_table(rows.combine_chunks())
            writer.add_key_value_metadata({_METADATA: _pack(listed)})

    write_whole(folder, folder.compacted(name), write)
    return len(listed)


def compact_what_is_listed(folder: SweepFolder) -> None:
    """Write the files of the tables that are read whole to list and rank trials anew, where that has become worth it.

    Args:
        folder: the sweep's folder.

    Raises:
        OSError: if the disk is full or cannot be written; what was there before stays.
    """
    for name in LISTED:
        compact_if_worth(folder, name)


def compact_if_worth(folder: SweepFolder, name: str = "trials") -> bool:
    """Write the one file of a table anew if reading the parts that it lacks has become slow.

    Looking takes about 10 ms per thousand parts: a call every few seconds is enough.

    Args:
        folder: the sweep's folder.
        name: the table.

    Returns:
        Whether it was written.

    Raises:
        OSError: if the disk is full or cannot be written; what was there before stays.
    """
    stamps = folder.stamps(name)
    enough = max(WORTH_LEAST, min(WORTH_PARTS, WORTH_SHARE * len(stamps)))
    if len(stamps) < enough:
        return False
    try:
        with opened_part(folder.compacted(name)) as file:
            held = _places(file, name, stamps)
    except (FileNotFoundError, InputError):
        held = {}
    lacking = {key: stamp for key, stamp in stamps.items() if key not in held}
    if len(lacking) < enough or len(_settled(folder, lacking)) < enough:
        return False
    compact(folder, name)
    return True


def _settled(folder: SweepFolder, stamps: Mapping[str, Stamp]) -> dict[str, Stamp]:
    """Return the parts that no longer could be written anew without another stamp, by the clock of their own disk."""
    folder.tmp.mkdir(parents=True, exist_ok=True)
    now = folder.tmp / f"now.{secrets.token_hex(6)}"
    try:
        now.touch(exist_ok=False)
        latest = now.stat().st_mtime_ns - SETTLED_NS
    finally:
        now.unlink(missing_ok=True)
    return {key: stamp for key, stamp in stamps.items() if stamp.mtime_ns < latest}


def _read(
    folder: SweepFolder,
    name: str,
    keys: Iterable[str],
    columns: Sequence[str] | None,
    held: _Held,
    *,
    damaged_too: bool = True,
) -> tuple[pa.Table, dict[str, int]]:
    """Return the rows of parts in the order of their keys, and how many are each one's.

    Args:
        folder: the sweep's folder.
        name: the table.
        keys: of the parts to read; those that are not there have no rows.
        columns: only these columns; all if None.
        held: what need not be read from its part.
        damaged_too: True to raise at a part that cannot be read, False to pass over it.
    """
    tables: list[pa.Table] = []
    counts: dict[str, int] = {}
    start = end = 0  # rows of the file that go together, and are taken in one piece
    for key in sorted(keys):
        if key in held.places:
            first, after = held.places[key]
            if first != end:
                tables.append(held.rows.slice(start, end - start))
                start = first
            end = after
            counts[key] = after - first
            continue
        try:
            part = read_part(folder.part(name, key), name, columns)
        except InputError:
            if damaged_too:
                raise
            continue  # left out of the file, it is named by all who read the table
        if part is not None:
            tables += [held.rows.slice(start, end - start), part]
            start = end
            counts[key] = len(part)
    tables.append(held.rows.slice(start, end - start))
    filled = [table for table in tables if len(table)]
    return pa.concat_tables(filled) if filled else no_rows(name, columns), counts


def _read_held(folder: SweepFolder, name: str, stamps: Mapping[str, Stamp], columns: Sequence[str] | None) -> _Held:
    """Return what the compacted file holds of parts that are as they were; nothing if it is not there or not sound."""
    nothing = _nothing_held(name, columns)
    try:
        with opened_part(folder.compacted(name)) as file:
            places = _places(file, name, stamps)
            if not places:
                return nothing
            rows = file.read(columns=None if columns is None else list(columns)).replace_schema_metadata(None)
    except (FileNotFoundError, InputError):
        return nothing  # its parts say all that it does
    return _Held(rows, places) if rows.schema.equals(nothing.rows.schema) else nothing


def _nothing_held(name: str, columns: Sequence[str] | None) -> _Held:
    return _Held(no_rows(name, columns), {})


def _pack(listed: Sequence[tuple[str, int, int, int]]) -> str:
    text = json.dumps({"schema_version": SCHEMA_VERSION, "parts": listed}, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}{text}"


def _places(file: pq.ParquetFile, name: str, stamps: Mapping[str, Stamp]) -> dict[str, tuple[int, int]]:
    """Return where a compacted file has the rows of parts whose stamps are given and the same; {} if it is not sound.

    Args:
        file: it.
        name: the table.
        stamps: of the parts that are there.

    Returns:
        Key -> its rows, from one up to but not including the other.
    """
    packed = (file.metadata.metadata or {}).get(_METADATA, b"")
    checksum, text = packed[:8], packed[8:]
    if checksum != b"%08x" % zlib.crc32(text) or not file.schema_arrow.equals(SCHEMAS[name]):
        return {}
    listing = json.loads(text)
    if listing["schema_version"] != SCHEMA_VERSION:
        return {}
    places, end = {}, 0
    for key, mtime_ns, size, count in listing["parts"]:
        if stamps.get(key) == (mtime_ns, size):
            places[key] = (end, end + count)
        end += count
    return places if end == file.metadata.num_rows else {}
