"""Names that a user gives for what trials have: a field of their configuration, or a column of their table."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ser_ray.errors import InputError
from ser_ray.results import CCC_COLUMNS, CROSSFIT_COLUMNS, SCHEMAS

Row = Mapping[str, Any]
Fields = Mapping[str, Any]

COLUMNS = SCHEMAS["trials"]
FIGURES = frozenset((*CCC_COLUMNS, *CROSSFIT_COLUMNS)) | {
    "epochs",
    "best_epoch",
    "train_seconds",
    "search_seconds",
    "samples_per_second",
    "peak_memory_bytes",
    "restarts",
}
"""Columns that come out of a training, and so differ from seed to seed: they are shown as means."""


@dataclass(frozen=True)
class Named:
    """What a name stands for.

    Args:
        name: a dotted field, or a column.
        is_field: which of the two.
    """

    name: str
    is_field: bool

    @property
    def label(self) -> str:
        """How it is headed: the last part of a dotted name."""
        return self.name.rpartition(".")[2]

    @property
    def is_figure(self) -> bool:
        """Whether it comes out of a training."""
        return not self.is_field and self.name in FIGURES

    def of(self, row: Row, fields: Fields) -> Any:
        """Return its value for a trial.

        Args:
            row: the trial's row.
            fields: its configuration, by dotted name.
        """
        return fields.get(self.name) if self.is_field else row[self.name]


def resolve(name: str, fields: Iterable[str], option: str) -> Named:
    """Return what a name stands for: a whole dotted field, a column, or a field by the end of its name.

    Args:
        name: as given, such as "training.sequence_s", "train_seconds" or "patience".
        fields: dotted names of the fields that there are.
        option: where it was given, such as "--sort".

    Raises:
        InputError: if it is nothing, naming the nearest; or the end of several fields' names, naming these.
    """
    known = sorted(set(fields))
    if name in known:
        return Named(name, is_field=True)
    if name in COLUMNS.names:
        return Named(name, is_field=False)
    ending = [field for field in known if field.endswith(f".{name}")]
    if len(ending) > 1:
        raise InputError(f"{option} {name}: several fields are called so; legal: {', '.join(ending)}")
    if ending:
        return Named(ending[0], is_field=True)
    shown = [*COLUMNS.names, *known, *(field.rpartition(".")[2] for field in known)]
    near = difflib.get_close_matches(name, dict.fromkeys(shown), n=4, cutoff=0.5)
    closest = f"; closest: {', '.join(near)}" if near else ""
    raise InputError(
        f"{option} {name}: no such column{closest}\n"
        "legal: the columns of trials (train_seconds, device, ccc_test_greedy_mean, ...) and the fields of their "
        f"configuration{_examples(known)}"
    )


def resolve_number(name: str, rows: Iterable[tuple[Row, Fields]], option: str) -> Named:
    """Return what a name of numbers stands for.

    Args:
        name: as given.
        rows: of the trials, with their configurations.
        option: where it was given.

    Raises:
        InputError: as `resolve` does; or if it has other values than numbers.
    """
    pairs = list(rows)
    found = resolve(name, all_fields(pairs), option)
    if found.is_field:
        values = [found.of(row, fields) for row, fields in pairs]
        wrong = next((value for value in values if value is not None and not is_number(value)), None)
        said = None if wrong is None else repr(wrong)
    else:
        kind = COLUMNS.field(found.name).type
        said = None if pa.types.is_integer(kind) or pa.types.is_floating(kind) else str(kind)
    if said is not None:
        raise InputError(f"{option} {name}: it must have numbers, but has {said}")
    return found


def all_fields(rows: Iterable[tuple[Row, Fields]]) -> list[str]:
    """Return the dotted names of all fields of trials, in the order of their first appearance."""
    return list({name: None for _, fields in rows for name in fields})


def is_number(value: Any) -> bool:
    """Return whether a value is a number, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _examples(fields: list[str]) -> str:
    return f" ({', '.join(fields[:3])}, ...)" if fields else ""
