"""The results of a sweep on disk: the schemas of all tables, and parts that are whole or absent.

A sweep's folder holds one parquet part per trial and table (`trials/<key>.parquet`, ...). A part is written under
`.tmp/` and renamed into its place, so that a reader never sees half a file, and nothing else lies in those folders: so
pandas, polars and duckdb read `trials/*.parquet` in one line, also while the sweep runs. Each table has one schema,
here in code; its version stands in every row.
"""

import math
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ser_ray.errors import InputError

SCHEMA_VERSION = 1
TARGETS = ("arousal", "valence")
STATUSES = ("finished", "stopped", "failed")
STAGES = ("", "greedy", "exhaustive")
"""Stages of a prediction that is scored: raw (no name in the column), and after each search of the post-processing."""


def ccc_column(partition: str, target: str, *, stage: str = "", per_recording: bool = False) -> str:
    """Return the name of the column of `trials` that holds one CCC.

    Args:
        partition: "devel" or "test".
        target: "arousal", "valence" or "mean".
        stage: "" for the raw prediction, "greedy" or "exhaustive" after that search.
        per_recording: True for the mean over recordings, False for the pooled CCC.

    Returns:
        The name, such as "ccc_devel_greedy_arousal_per_recording".
    """
    parts = ["ccc", partition, stage, target, "per_recording" if per_recording else ""]
    return "_".join(part for part in parts if part)


CCC_COLUMNS = tuple(
    ccc_column(partition, target, stage=stage, per_recording=per_recording)
    for partition in ("devel", "test")
    for stage in STAGES
    for target in (*TARGETS, "mean")
    for per_recording in (False, True)
)

_TEXT, _INT, _FLOAT, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_TIME = pa.timestamp("us")  # UTC; not marked so, since duckdb wants a further package for times with a zone

TRIALS = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("key", _TEXT),
        ("sweep", _TEXT),
        ("status", _TEXT),  # finished | stopped | failed
        ("error", _TEXT),  # why a trial failed; null otherwise
        ("model", _TEXT),  # family of the network
        ("pooling", _TEXT),  # max | average | stride
        ("targets", pa.list_(_TEXT)),
        ("kernels", pa.list_(_INT)),
        ("pools", pa.list_(_INT)),
        ("overlap_ratios", pa.list_(_FLOAT)),
        ("channels", pa.list_(_INT)),
        ("hidden", _INT),
        ("lstm_layers", _INT),
        ("dropout", _FLOAT),
        ("sequence_s", _FLOAT),
        ("label_shift_s", _FLOAT),
        ("batch_size", _INT),
        ("loss", _TEXT),
        ("optimizer", _TEXT),
        ("learning_rate", _FLOAT),
        ("seed", _INT),
        ("max_epochs", _INT),  # as configured
        ("epochs", _INT),  # as trained
        ("best_epoch", _INT),  # counted from 1
        ("parameters", _INT),
        ("receptive_field_ms", _FLOAT),
        *((column, _FLOAT) for column in CCC_COLUMNS),
        ("train_seconds", _FLOAT),
        ("search_seconds", _FLOAT),
        ("samples_per_second", _FLOAT),  # audio samples trained on per second of training
        ("peak_memory_bytes", _INT),
        ("device", _TEXT),
        ("host", _TEXT),
        ("started_at", _TIME),
        ("ended_at", _TIME),
        ("git_commit", _TEXT),
        ("versions", _TEXT),  # JSON: package -> version
        ("corpus", _TEXT),
        ("corpus_fingerprint", _TEXT),
        ("config", _TEXT),  # JSON: the resolved configuration that the key is made of
    ]
)

EPOCHS = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("key", _TEXT),
        ("epoch", _INT),  # counted from 1
        ("train_loss", _FLOAT),  # mean over the epoch's batches
        *((f"ccc_devel_{target}", _FLOAT) for target in (*TARGETS, "mean")),
        *((f"ccc_devel_{target}_per_recording", _FLOAT) for target in (*TARGETS, "mean")),
        ("best", _BOOL),  # the best devel mean so far
        ("train_seconds", _FLOAT),
        ("evaluate_seconds", _FLOAT),
        ("ended_at", _TIME),
    ]
)

POSTPROCESSING = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("key", _TEXT),
        ("target", _TEXT),
        ("method", _TEXT),  # greedy | exhaustive
        ("median_window", _INT),  # frames; 1 is no filter
        ("median_window_s", _FLOAT),
        ("centre", _BOOL),
        ("scale", _BOOL),
        ("shift", _INT),  # frames; positive moves predictions later
        ("shift_s", _FLOAT),
        ("prediction_mean", _FLOAT),  # constants fitted on the filtered devel predictions and gold
        ("prediction_std", _FLOAT),
        ("gold_mean", _FLOAT),
        ("gold_std", _FLOAT),
        ("ccc_devel_raw", _FLOAT),
        ("ccc_devel", _FLOAT),  # of the whole chain, in sample
        ("gain_median", _FLOAT),  # of each step in turn, on devel, in sample
        ("gain_centre", _FLOAT),
        ("gain_scale", _FLOAT),
        ("gain_shift", _FLOAT),
        ("seconds", _FLOAT),
    ]
)

PREDICTIONS = pa.schema(
    [
        ("recording", _TEXT),
        ("partition", _TEXT),
        ("frame", pa.int32()),
        ("time_s", _FLOAT),
        *((f"gold_{target}", pa.float32()) for target in TARGETS),  # null where no gold exists
        *((f"prediction_{target}", pa.float32()) for target in TARGETS),  # raw
    ]
)

SCHEMAS: Mapping[str, pa.Schema] = {
    "trials": TRIALS,
    "epochs": EPOCHS,
    "postprocessing": POSTPROCESSING,
    "predictions": PREDICTIONS,
}


_UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What pyarrow raises for a file that is no parquet file, or a damaged one."""


@dataclass(frozen=True)
class SweepFolder:
    """The folder of one sweep's results, and the place of everything in it.

    Args:
        path: results/<sweep>.
    """

    path: Path

    def part(self, table: str, key: str) -> Path:
        """Return the path of one trial's part of a table."""
        return self.path / table / f"{key}.parquet"

    def checkpoints(self, key: str) -> Path:
        """Return the folder of one trial's last.pt and best.pt."""
        return self.path / "checkpoints" / key

    def log(self, key: str) -> Path:
        """Return the path of one trial's log."""
        return self.path / "logs" / f"{key}.log"

    @property
    def tmp(self) -> Path:
        """The folder of parts under way, on the same file system as all the others."""
        return self.path / ".tmp"

    @property
    def sweep_file(self) -> Path:
        """The sweep as run, resolved."""
        return self.path / "sweep.yaml"

    def keys(self, table: str) -> set[str]:
        """Return the keys of the trials that have a part of this table."""
        folder = self.path / table
        return {path.stem for path in folder.glob("*.parquet")} if folder.is_dir() else set()


def open_sweep(path: str | Path) -> SweepFolder:
    """Return the folder of a sweep that has been run.

    Args:
        path: results/<sweep>.

    Raises:
        InputError: if there is no sweep in this folder, naming those that are near.
    """
    folder = SweepFolder(Path(path))
    if folder.sweep_file.is_file():
        return folder
    near = sorted(str(p.parent) for p in Path(path).glob("*/sweep.yaml"))
    if not near and Path(path).parent.is_dir():
        near = sorted(str(p.parent) for p in Path(path).parent.glob("*/sweep.yaml"))
    found = f"; sweeps nearby: {', '.join(near)}" if near else ""
    raise InputError(f"{path} holds no sweep (a folder with sweep.yaml, such as results/overlap){found}")


def make_table(name: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return rows as a table of a schema.

    Args:
        name: "trials", "epochs", "postprocessing" or "predictions".
        rows: one mapping per row; columns that are missing are null, NaN is null too.

    Returns:
        The table, cast to the schema.

    Raises:
        ValueError: if a row has a column that the schema lacks.
    """
    schema = SCHEMAS[name]
    known = set(schema.names)
    clean = []
    for row in rows:
        unknown = set(row) - known
        if unknown:
            raise ValueError(f"table {name} has no columns {sorted(unknown)}")
        values = {column: None if _is_nan(value) else value for column, value in row.items()}
        if "schema_version" in known:
            values.setdefault("schema_version", SCHEMA_VERSION)
        clean.append(values)
    return pa.Table.from_pylist(clean, schema=schema)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def write_part(
    folder: SweepFolder,
    name: str,
    key: str,
    table: pa.Table,
    *,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write one trial's part of a table, whole or not at all.

    Args:
        folder: the sweep's folder.
        name: the table.
        key: the trial's key.
        table: its rows, of the table's schema.
        metadata: texts kept in the file's metadata.

    Returns:
        The path of the part.
    """
    table = table.cast(SCHEMAS[name])
    if metadata:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
    path = folder.part(name, key)

    def write(temporary: Path) -> None:
        pq.write_table(table, temporary, compression="zstd")

    write_whole(folder, path, write)
    return path


def write_whole(folder: SweepFolder, path: Path, write: Any) -> None:
    """Give a file of a sweep its content in one step: written under .tmp, synced, renamed.

    Args:
        folder: the sweep's folder.
        path: where the file goes; its folder is made.
        write: called with the temporary path; what it wrote there becomes the file.

    Raises:
        OSError: if the disk is full or cannot be written; nothing is left at `path` that was not there before.
    """
    folder.tmp.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.tmp / f"{path.name}.{secrets.token_hex(6)}"
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_table(
    folder: SweepFolder,
    name: str,
    *,
    keys: Iterable[str] | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Read a table of a sweep, all parts that are there now.

    Args:
        folder: the sweep's folder.
        name: the table.
        keys: only these trials; all if None.
        columns: only these columns; all if None.

    Returns:
        The rows, in the order of the keys; no rows if there are no parts.

    Raises:
        InputError: if a part cannot be read or has another schema version, naming the file.
    """
    schema = SCHEMAS[name]
    wanted = folder.keys(name) if keys is None else folder.keys(name) & set(keys)
    read = (_read_part(folder.part(name, key), schema, columns) for key in sorted(wanted))
    parts = [part for part in read if part is not None]
    if columns is not None:
        schema = pa.schema([schema.field(column) for column in columns])
    return pa.concat_tables(parts) if parts else schema.empty_table()


def _read_part(path: Path, schema: pa.Schema, columns: Sequence[str] | None) -> pa.Table | None:
    expected = schema if columns is None else pa.schema([schema.field(column) for column in columns])
    try:
        with pq.ParquetFile(path) as file:
            table = file.read(columns=None if columns is None else list(columns))
            foreign = "schema_version" in schema.names and _foreign_version(file)
    except FileNotFoundError:
        return None  # taken away since the folder was listed, as a failed trial's row is when it is tried again
    except _UNREADABLE as error:
        raise InputError(
            f"{path} cannot be read ({error}); delete it and run the sweep again to make it anew"
        ) from error
    if foreign or table.schema.names != expected.names:
        raise _other_schema(path)
    try:
        return table.replace_schema_metadata(None).cast(expected)
    except pa.ArrowException as error:
        raise _other_schema(path) from error


def _foreign_version(file: pq.ParquetFile) -> bool:
    """Return whether a part's rows say another schema version, or none."""
    if "schema_version" not in file.schema_arrow.names:
        return True
    versions = file.read(columns=["schema_version"])["schema_version"].to_pylist()
    return any(version != SCHEMA_VERSION for version in versions)


def _other_schema(path: Path) -> InputError:
    return InputError(
        f"{path} does not have the columns of this table's schema version {SCHEMA_VERSION}; "
        "it was written by another version of ser_ray"
    )


def read_metadata(path: Path) -> dict[str, str]:
    """Return the texts kept in the metadata of a part.

    Args:
        path: the part.

    Returns:
        The texts given to `write_part`.

    Raises:
        InputError: if the file cannot be read.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
        return {key.decode(): value.decode() for key, value in metadata.items() if not key.startswith(b"ARROW:")}
    except _UNREADABLE as error:
        raise InputError(f"{path} cannot be read ({error})") from error
