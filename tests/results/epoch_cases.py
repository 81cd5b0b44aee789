"""Parts of the table of epochs, as if written long ago."""

import os
from pathlib import Path

import pyarrow as pa

from ser_ray.results import SCHEMAS, SweepFolder, make_table, write_part
from ser_ray.results.parts import read_part

LONG_AGO_NS = 1_700_000_000_000_000_000
KEYS = [f"key{number:02d}" for number in range(14)]


def write(folder: SweepFolder, key: str, *, epochs: int = 1, loss: float = 0.5, at: int = 0) -> Path:
    """Write a part of `epochs` as if long ago, at a time of its own."""
    rows = [{"key": key, "epoch": number, "train_loss": loss, "best": None} for number in range(epochs)]
    path = write_part(folder, "epochs", key, make_table("epochs", rows))
    os.utime(path, ns=(LONG_AGO_NS + at, LONG_AGO_NS + at))
    return path


def fill(folder: SweepFolder, count: int = 12) -> None:
    for number in range(count):
        write(folder, f"key{number:02d}", epochs=number % 3 + 1, at=number)


def parts_alone(folder: SweepFolder, keys: list[str], columns: list[str] | None = None) -> pa.Table:
    read = [read_part(folder.part("epochs", key), "epochs", columns) for key in sorted(set(keys))]
    there = [part for part in read if part is not None]
    schema = SCHEMAS["epochs"]
    empty = (schema if columns is None else pa.schema([schema.field(c) for c in columns])).empty_table()
    return pa.concat_tables([empty, *there])
