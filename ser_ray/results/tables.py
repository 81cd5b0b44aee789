"""Tables read from many parts, or from one compacted file for the parts whose rows it contains.

The parts are the record. The compacted file (`trials.parquet` beside the folder `trials`) lists in its metadata the
parts that it contains, with their stamps. A part that was written since is read from its own file; one that was deleted
is not read at all. The compacted file may be deleted at any time. A file without such a list, where there is no folder
of parts, is the table itself: the repository stores the rows of finished sweeps in this way.
"""

import json
import secrets
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from ser_ray.errors import InputError
from ser_ray.files import whole_file
from ser_ray.results.folder import Stamp, SweepFolder
from ser_ray.results.parts import no_rows, opened_part, read_part
from ser_ray.results.schemas import SCHEMA_VERSION, SCHEMAS

SETTLED_NS = 2_000_000_000
"""Only parts older than this are compacted: one that is written twice within a tick of a coarse clock (two seconds at
most on any disk) may keep its stamp."""
FEW = 8
"""Up to this many parts are opened faster than the compacted file is searched."""
WORTH_PARTS, WORTH_SHARE, WORTH_LEAST = 200, 0.02, 50
"""Compaction is worth it if this many parts, or this share of all, are not in the file, but never for fewer than the
last number."""
COMPACTED_TABLES = ("trials", "postprocessing")
"""Tables that are read whole, to rank trials and to count reliability warnings."""

_METADATA = b"ser_ray.parts.1"


@dataclass(frozen=True)
class _Compacted:
    """Rows of the compacted file, and the range of rows of each part that has not changed since."""

    rows: pa.Table
    ranges: Mapping[str, tuple[int, int]]


def read_table(
    folder: SweepFolder,
    name: str,
    *,
    keys: Iterable[str] | None = None,
    columns: Sequence[str] | None = None,
    skip_damaged: bool = False,
) -> pa.Table:
    """Read a table of a sweep for all trials or some, in the order of their keys; without rows if there are none.

    Raises:
        InputError: if a part cannot be read or has another schema version, with its path; not if `skip_damaged`.
    """
    wanted = None if keys is None else set(keys)
    kept = _read_kept(folder, name, wanted, columns)
    if kept is not None:
        return kept
    if wanted is not None and len(wanted) <= FEW:
        read: Iterable[str] = wanted
        compacted = _Compacted(no_rows(name, columns), {})
    else:
        read = stamps = {key: at for key, at in folder.stamps(name).items() if wanted is None or key in wanted}
        compacted = _read_compacted(folder, name, stamps, columns)
    return _read(folder, name, read, columns, compacted, skip_damaged=skip_damaged)[0]


def compacted_keys(folder: SweepFolder, name: str) -> frozenset[str]:
    """List the trials whose rows are read from the compacted file, since their parts have not changed."""
    return frozenset(_read_compacted(folder, name, folder.stamps(name), ["key"]).ranges)


def compact(folder: SweepFolder, name: str = "trials") -> int:
    """Write the rows of all parts of a table to its compacted file; return the number of parts in it.

    Parts of the last two seconds, and damaged ones, are left out. The sweep may be running, and another process may
    compact it too.

    Raises:
        OSError: if it cannot be written; an earlier file stays as it was.
    """
    # Stamps first, then rows: a part that is rewritten in between gets another stamp than the one listed.
    stamps = _settled(folder, folder.stamps(name))
    rows, counts = _read(folder, name, stamps, None, _read_compacted(folder, name, stamps, None), skip_damaged=True)
    listed = [(key, *stamps[key], count) for key, count in counts.items()]
    with (
        whole_file(folder.compacted(name), temporary_dir=folder.tmp) as temporary,
        pq.ParquetWriter(temporary, rows.schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        writer.write_table(rows.combine_chunks())
        writer.add_key_value_metadata({_METADATA: _pack(listed)})
    return len(listed)


def compact_tables(folder: SweepFolder) -> None:
    """Compact those tables that are read whole, if it is worth it.

    Raises:
        OSError: if a file cannot be written; an earlier one stays as it was.
    """
    for name in COMPACTED_TABLES:
        compact_if_worth(folder, name)


def compact_if_worth(folder: SweepFolder, name: str = "trials") -> bool:
    """Compact a table if many of its parts are not in its compacted file; return True if it was compacted.

    The check takes about 10 ms per thousand parts: a call every few seconds is enough.

    Raises:
        OSError: if the file cannot be written; an earlier one stays as it was.
    """
    stamps = folder.stamps(name)
    enough = max(WORTH_LEAST, min(WORTH_PARTS, WORTH_SHARE * len(stamps)))
    if len(stamps) < enough:
        return False
    try:
        with opened_part(folder.compacted(name)) as file:
            held = _ranges(file, name, stamps)
    except (FileNotFoundError, InputError):
        held = {}
    lacking = {key: stamp for key, stamp in stamps.items() if key not in held}
    if len(lacking) < enough or len(_settled(folder, lacking)) < enough:
        return False
    compact(folder, name)
    return True


def _settled(folder: SweepFolder, stamps: Mapping[str, Stamp]) -> dict[str, Stamp]:
    """Select the parts that are older than SETTLED_NS by the clock of their own disk."""
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
    compacted: _Compacted,
    *,
    skip_damaged: bool = False,
) -> tuple[pa.Table, dict[str, int]]:
    """Read the parts of some trials in the order of their keys; return their rows and each part's number of rows."""
    tables: list[pa.Table] = []
    counts: dict[str, int] = {}
    start = end = 0  # adjacent rows of the compacted file are taken as one slice
    for key in sorted(keys):
        if key in compacted.ranges:
            first, after = compacted.ranges[key]
            if first != end:
                tables.append(compacted.rows.slice(start, end - start))
                start = first
            end = after
            counts[key] = after - first
            continue
        try:
            part = read_part(folder.part(name, key), name, columns)
        except InputError:
            if skip_damaged:
                continue
            raise
        if part is not None:
            tables += [compacted.rows.slice(start, end - start), part]
            start = end
            counts[key] = len(part)
    tables.append(compacted.rows.slice(start, end - start))
    filled = [table for table in tables if len(table)]
    return pa.concat_tables(filled) if filled else no_rows(name, columns), counts


def is_kept(folder: SweepFolder, name: str = "trials") -> bool:
    """Check whether a table is stored in one file, without parts, as the repository stores finished sweeps."""
    if (folder.path / name).is_dir() or not folder.compacted(name).is_file():
        return False
    with opened_part(folder.compacted(name)) as file:
        return _METADATA not in (file.metadata.metadata or {})


def _read_kept(
    folder: SweepFolder, name: str, keys: Collection[str] | None, columns: Sequence[str] | None
) -> pa.Table | None:
    """Read the rows of a table that is stored in one file without parts; None if it is not."""
    if "key" not in SCHEMAS[name].names or not is_kept(folder, name):
        return None
    rows = read_part(folder.compacted(name), name, of_one_trial=False)
    if rows is None:
        return None
    if keys is not None:
        rows = rows.filter(pa.array([key in keys for key in rows["key"].to_pylist()], pa.bool_()))
    return rows if columns is None else rows.select(list(columns))


def _read_compacted(
    folder: SweepFolder, name: str, stamps: Mapping[str, Stamp], columns: Sequence[str] | None
) -> _Compacted:
    """Read the compacted file's rows of parts with these stamps; none if it is missing or damaged."""
    nothing = _Compacted(no_rows(name, columns), {})
    try:
        with opened_part(folder.compacted(name)) as file:
            ranges = _ranges(file, name, stamps)
            if not ranges:
                return nothing
            rows = file.read(columns=None if columns is None else list(columns)).replace_schema_metadata(None)
    except (FileNotFoundError, InputError):
        return nothing
    return _Compacted(rows, ranges) if rows.schema.equals(nothing.rows.schema) else nothing


def _pack(listed: Sequence[tuple[str, int, int, int]]) -> str:
    text = json.dumps({"schema_version": SCHEMA_VERSION, "parts": listed}, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}{text}"


def _ranges(file: pq.ParquetFile, name: str, stamps: Mapping[str, Stamp]) -> dict[str, tuple[int, int]]:
    """Return key -> range of rows for parts that still have the listed stamp; {} if the file is not consistent."""
    packed = (file.metadata.metadata or {}).get(_METADATA, b"")
    checksum, text = packed[:8], packed[8:]
    if checksum != b"%08x" % zlib.crc32(text) or not file.schema_arrow.equals(SCHEMAS[name]):
        return {}
    listing = json.loads(text)
    if listing["schema_version"] != SCHEMA_VERSION:
        return {}
    ranges, end = {}, 0
    for key, mtime_ns, size, count in listing["parts"]:
        if stamps.get(key) == (mtime_ns, size):
            ranges[key] = (end, end + count)
        end += count
    return ranges if end == file.metadata.num_rows else {}
