"""The parts of a corpus on disk (manifest, index, shards), and the fingerprint of its contents.

DIR/corpus.json       the manifest, written last: a folder without it is not a corpus
DIR/index.parquet     one row per recording
DIR/shards/*.arrow    uncompressed Arrow IPC files, one record batch per recording
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import pyarrow as pa

from ser_ray.errors import InputError
from ser_ray.plain_text import escaped_name

SCHEMA_VERSION = 1

SAMPLE_RATE = 16_000
"""Samples per second of every corpus, whatever the rate of the imported audio."""

AS_PRINTED = 6e-6
"""Relative tolerance for a rate that a user copied as it is printed, with six digits."""

USUAL_RATES_HZ = (1, 2, 4, 5, 8, 10, 12.5, 16, 20, 25, 32, 40, 50, 80, 100)
"""Rates at which the samples per frame have many small factors, which pooling layers need."""

PARTITIONS = ("train", "devel", "test")
MANIFEST, INDEX, SHARDS = "corpus.json", "index.parquet", "shards"

INDEX_SCHEMA = pa.schema(
    [
        ("recording", pa.string()),
        ("partition", pa.string()),  # train | devel | test
        ("speaker", pa.string()),
        ("shard", pa.string()),  # file in shards/
        ("batch", pa.int32()),  # record batch in that file
        ("samples", pa.int64()),
        ("frames", pa.int64()),
        ("mean", pa.float64()),  # of the recording's int16 samples
        ("std", pa.float64()),  # population
        ("labelled", pa.bool_()),
    ]
)
"""Columns of index.parquet; further columns are text, copied from the user's own table."""


@dataclass(frozen=True)
class Shard:
    """One file of recordings in shards/, with the SHA-256 of its bytes in hexadecimal."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Contents of corpus.json.

    `notice` is a text that accompanies the data; `preparation` describes in words how the corpus was made.
    """

    name: str
    label_rate: float
    targets: tuple[str, ...]
    shards: tuple[Shard, ...]
    fingerprint: str
    notice: str = ""
    sample_rate: int = SAMPLE_RATE
    preparation: Mapping[str, str] = field(default_factory=dict, hash=False)
    index_sha256: str
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Recording:
    """One recording of a corpus: a row of its index.

    `mean` and `std` (above 0) are those of its int16 samples, which are a whole number of frames; `batch` is the number
    of its record batch in the shard; `extra` are further columns of the user's own table, as text.
    """

    name: str
    partition: str
    speaker: str
    samples: int
    frames: int
    mean: float
    std: float
    labelled: bool
    shard: str
    batch: int
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)


def samples_per_frame(label_rate: float) -> int:
    """Return the hop: the number of samples per frame.

    Raises:
        InputError: if a frame is not a whole number of samples; the message names the nearest possible rates.
    """
    if label_rate >= 1e-6:
        hop = round(SAMPLE_RATE / label_rate)
        if hop >= 1 and abs(SAMPLE_RATE / hop - label_rate) <= AS_PRINTED * label_rate:
            return hop
        ideal = SAMPLE_RATE / label_rate
        hops = sorted({max(1, int(ideal)), int(ideal) + 1})
        near = " or ".join(f"{SAMPLE_RATE / hop:.6g} Hz ({hop} samples)" for hop in hops)
        usual = sorted(USUAL_RATES_HZ, key=lambda rate_hz: abs(math.log(rate_hz / label_rate)))[:3]
        fits = (
            f"nearest valid rates: {near}; recommended rates, which allow many pool sizes: "
            f"{', '.join(f'{one:g}' for one in usual)} Hz"
        )
    else:
        fits = "it must be at least 1e-6"
    raise InputError(
        f"label rate is {label_rate:.6g} Hz, which is not a whole number of samples per frame at "
        f"{SAMPLE_RATE} Hz; {fits}"
    )


def index_table(recordings: Sequence[Recording]) -> pa.Table:
    """Build the index as a table: the columns of INDEX_SCHEMA, then one text column per key of `extra`."""
    extra_names = list(dict.fromkeys(key for recording in recordings for key in recording.extra))
    own = {
        column: [getattr(r, "name" if column == "recording" else column) for r in recordings]
        for column in INDEX_SCHEMA.names
    }
    extra = {key: [recording.extra.get(key) for recording in recordings] for key in extra_names}
    schema = pa.schema([*INDEX_SCHEMA, *((key, pa.string()) for key in extra_names)])
    return pa.table({**own, **extra}, schema=schema)


def check_index(index: pa.Table) -> None:
    """Refuse an index with missing or repeated columns, wrong types or nulls."""
    missing = [column for column in INDEX_SCHEMA.names if column not in index.column_names]
    if missing:
        raise InputError(f"{INDEX} lacks the columns {', '.join(missing)}: import the corpus again")
    twice = sorted({column for column in index.column_names if index.column_names.count(column) > 1})
    if twice:
        raise InputError(f"{INDEX} has the columns {', '.join(twice)} more than once: import the corpus again")
    for wanted in INDEX_SCHEMA:
        column = index.column(wanted.name)
        if column.type != wanted.type or column.null_count:
            found = f"{column.type}{f' with {column.null_count} nulls' if column.null_count else ''}"
            raise InputError(
                f"{INDEX} has {found} in column {wanted.name}, but must have {wanted.type} without nulls: "
                "import the corpus again"
            )


def index_recordings(index: pa.Table) -> tuple[Recording, ...]:
    """Convert the rows of an index to recordings.

    Raises:
        InputError: if `check_index` refuses it.
    """
    check_index(index)
    own = [_values(index.column("recording" if name == "name" else name)) for name in _OWN_FIELDS]
    further = _further_columns(index)
    known: dict[tuple[str | None, ...], dict[str, str]] = {}
    recordings = []
    extra = rows_of([_values(index.column(column)) for column in further], len(index))
    for values, texts in zip(zip(*own, strict=True), extra, strict=True):
        if texts not in known:
            known[texts] = {key: text for key, text in zip(further, texts, strict=True) if text is not None}
        arguments: list[Any] = [*values, known[texts]]
        recordings.append(Recording(*arguments))
    return tuple(recordings)


_OWN_FIELDS = tuple(one.name for one in fields(Recording) if one.name != "extra")


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Return a column's values, equal texts as one object, since texts are half of the memory of a large corpus."""
    values: list[Any] = column.to_pylist()  # texts are escaped below, since they are shown
    if not pa.types.is_string(column.type):
        return values
    known: dict[str | None, str | None] = {}
    for value in values:
        if value not in known:
            known[value] = value if value is None else escaped_name(value)
    return [known[value] for value in values]


def fingerprint(
    shards: Sequence[Shard],
    recordings: Sequence[Recording],
    *,
    targets: Sequence[str],
    label_rate: float,
    sample_rate: int = SAMPLE_RATE,
) -> str:
    """Hash a corpus's content, but neither its place nor its name: 16 hexadecimal digits."""
    index = index_table(recordings)
    return index_fingerprint(shards, index, targets=targets, label_rate=label_rate, sample_rate=sample_rate)


def index_fingerprint(
    shards: Sequence[Shard], index: pa.Table, *, targets: Sequence[str], label_rate: float, sample_rate: int
) -> str:
    """Return the same as `fingerprint`, from an index table without converting it to recordings."""
    own = {"name" if column == "recording" else column: index.column(column) for column in INDEX_SCHEMA.names}
    rows = json_rows(own, "extra", {column: index.column(column) for column in _further_columns(index)})
    rest = {
        "label_rate": float(label_rate),
        "sample_rate": sample_rate,
        "shards": [asdict(shard) for shard in shards],
        "targets": list(targets),
    }
    text = f'{{"index":{rows},{json.dumps(rest, sort_keys=True, separators=(",", ":"))[1:]}'
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _further_columns(index: pa.Table) -> list[str]:
    return [column for column in index.column_names if column not in INDEX_SCHEMA.names]


def json_rows(columns: Mapping[str, pa.ChunkedArray], inner: str, inner_columns: Mapping[str, pa.ChunkedArray]) -> str:
    """Serialise rows as a JSON array of objects, as json.dumps does a dict per row with sorted keys and no blanks.

    Each object has a key per column, and the key `inner`, an object of the inner columns that are not null.
    """
    texts = {key: _texts(column) for key, column in columns.items()}
    count = len(next(iter(texts.values())))
    pairs = [_pairs(key, inner_columns[key]) for key in sorted(inner_columns)]
    texts[inner] = [f"{{{','.join(filter(None, row))}}}" for row in rows_of(pairs, count)]
    keys = sorted(texts)
    template = "{" + ",".join(f"{json.dumps(key)}:%s" for key in keys) + "}"
    return f"[{','.join(template % row for row in zip(*(texts[key] for key in keys), strict=True))}]"


def rows_of(columns: Sequence[Sequence[Any]], count: int) -> Iterable[tuple[Any, ...]]:
    """Transpose columns to rows: `count` empty rows where there is no column."""
    return zip(*columns, strict=True) if columns else [()] * count


def _texts(column: pa.ChunkedArray) -> list[str]:
    # JSON escapes a line break within a text, so the only line breaks are those between the values
    text = json.dumps(column.to_pylist(), separators=("\n", ":"))[1:-1]
    return text.split("\n") if len(column) else []


def _pairs(key: str, column: pa.ChunkedArray) -> list[str]:
    """Serialise a key with each value of its column as JSON; "" for null."""
    begin = json.dumps(key)
    return ["" if text == "null" else f"{begin}:{text}" for text in _texts(column)]
