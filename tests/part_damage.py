"""A trial that is finished, and what can have become of its parts: each kind of damage as a function of the path."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ser_ray.corpus import Corpus
from ser_ray.results import PREDICTIONS, SweepFolder, make_table
from ser_ray.trial import Trial, TrialConfig, search_trial, train_trial, trial_key

Change = Callable[[pa.Table], pa.Table]


def cut(share: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])

    return damage


def overwritten(begin: float, end: float, byte: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        whole = path.read_bytes()
        first, after = int(begin * len(whole)), int(end * len(whole))
        path.write_bytes(whole[:first] + byte * (after - first) + whole[after:])

    return damage


def flip(path: Path, column: int) -> None:
    """Turn one bit in the data of a column."""
    with pq.ParquetFile(path) as file:
        chunk = file.metadata.row_group(0).column(column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[start + chunk.total_compressed_size - 1] ^= 1
    path.write_bytes(content)


def flipped_key(path: Path) -> None:
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
    flip(path, names.index("key") if "key" in names else 0)


def replaced_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def make_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def make_folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_text("kept")


def rewritten(change: Change) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with pq.ParquetFile(path) as file:
            table = file.read()
        pq.write_table(change(table), path, write_page_checksum=True)

    return damage


def version(value: object) -> Change:
    def change(table: pa.Table) -> pa.Table:
        return table.set_column(0, "schema_version", pa.array([value] * len(table)))

    return change


def of_another_trial(table: pa.Table) -> pa.Table:
    if "key" in table.schema.names:
        return table.set_column(table.schema.get_field_index("key"), "key", pa.array(["0123456789ab"] * len(table)))
    trial = json.loads(table.schema.metadata[b"trial"]) | {"key": "0123456789ab"}
    return table.replace_schema_metadata({**table.schema.metadata, b"trial": json.dumps(trial)})


def of_another_table(table: pa.Table) -> pa.Table:
    if table.schema.names == PREDICTIONS.names:
        return make_table("epochs", [{"key": "k", "epoch": 1}])
    return make_table("predictions", [{"recording": "r", "partition": "devel", "frame": 0, "time_s": 0.0}])


UNOPENED: dict[str, Callable[[Path], None]] = {
    "empty": cut(0),
    "cut after three bytes": lambda path: path.write_bytes(path.read_bytes()[:3]),
    "cut at a quarter": cut(0.25),
    "cut at half": cut(0.5),
    "nearly whole": cut(0.999),
    "zeroed": overwritten(0, 1, b"\0"),
    "its end zeroed": overwritten(0.5, 1, b"\0"),
    "garbage": overwritten(0, 1, b"\xa5"),
    "text": lambda path: path.write_text("not found\n"),
    "a folder": replaced_by(make_folder),
    "a link to nothing": replaced_by(lambda path: path.symlink_to("nowhere")),
    "a loop of links": replaced_by(lambda path: path.symlink_to(path.name)),
    "a link to a folder": replaced_by(lambda path: path.symlink_to(path.parent)),
    "a named pipe": replaced_by(os.mkfifo),
    "a socket": replaced_by(make_socket),
    "a link to a device": replaced_by(lambda path: path.symlink_to("/dev/null")),
}
"""What cannot be opened as parquet."""
OPENED: dict[str, Callable[[Path], None]] = {
    "a flipped bit": flipped_key,
    "another trial's": rewritten(of_another_trial),
    "another table's": rewritten(of_another_table),
    "without rows": rewritten(lambda table: table.slice(0, 0)),
}
"""What can be, and shows when it is read."""
VERSIONS: dict[str, Callable[[Path], None]] = {
    "schema_version as text": rewritten(version("1")),
    "schema_version null": rewritten(version(None)),
    "schema_version missing": rewritten(lambda table: table.drop_columns(["schema_version"])),
}
"""Of tables that have it."""


def kinds(table: str) -> dict[str, Callable[[Path], None]]:
    """Return the kinds of damage that a part of a table may have."""
    return UNOPENED | OPENED | (VERSIONS if table != "predictions" else {})


def finished_trial(path: Path, corpus: Corpus, config: TrialConfig) -> Trial:
    """Train and search a trial in the folder of a sweep, whose parts a test may damage in a copy."""
    key = trial_key(config, corpus.fingerprint)
    trial = Trial(key=key, config=config, corpus=corpus, sweep="tiny", folder=SweepFolder(path))
    train_trial(trial, torch.device("cpu"))
    search_trial(trial.folder, key)
    return trial
