"""Shrink any sweep so that it ends in minutes on two CPU cores."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from ser_ray.sweep.spec.config import SweepConfig
from ser_ray.sweep.spec.document import shown
from ser_ray.sweep.spec.items import Item, Search, Together
from ser_ray.sweep.spec.space import Axis, Choices
from ser_ray.training.config import TrainingConfig

_CONFIGURATIONS = 4
_EPOCHS = 2
_RECORDINGS = 2
_SECONDS = 40.0
_SEQUENCE_S = 20.0


def shrink(sweep: SweepConfig) -> tuple[SweepConfig, tuple[str, ...]]:
    """Shrink a sweep; return it and a line of text for each change.

    All that it changes in a trial is part of the trial's key: quick results are never taken for full ones.
    """
    limits = [
        sweep.given("training.limit_s"),
        *(v for item in sweep.explore for v in _explored(item, "training.limit_s")),
    ]
    limit_s = min([_SECONDS, *(limit for limit in limits if limit is not None)])
    caps: dict[str, Callable[[Any], Any]] = {
        "epochs": lambda value: min(value, _EPOCHS),
        "patience": lambda value: None,
        "limit_recordings": lambda value: min(value or _RECORDINGS, _RECORDINGS),
        "limit_s": lambda value: min(value or _SECONDS, _SECONDS),
        "sequence_s": lambda value: min(value, _SEQUENCE_S, limit_s),
        "label_shift_s": lambda value: value if value < limit_s else float(math.floor(limit_s / 2)),
    }
    small, lines = sweep, []
    for field, cap in caps.items():
        small, changes = _capped(small, field, cap)
        lines += changes
    small, changes = _fewer(small)
    return small, tuple(lines + changes)


def _explored(item: Item, path: str) -> tuple[Any, ...]:
    """Return the values of a field in an item; of a range, its ends."""
    if isinstance(item, Together):
        return item.values.get(path, ())
    if isinstance(item, Search) and path in item.space:
        axis = item.space[path]
        return axis.values if isinstance(axis, Choices) else (axis.low, axis.high)
    return ()


def _capped(sweep: SweepConfig, field: str, cap: Callable[[Any], Any]) -> tuple[SweepConfig, list[str]]:
    """Cap a field of a sweep's training, in `trial` and wherever it is explored; return it and the changes."""
    path, lines = f"training.{field}", []
    old = sweep.given(path, getattr(TrainingConfig(), field))
    explored = [values for item in sweep.explore if (values := _explored(item, path))]
    for values in explored or [(old,)]:
        capped = tuple(cap(value) for value in values)
        if capped != values:
            before, after = (shown(some[0] if len(some) == 1 else some) for some in (values, capped))
            lines.append(f"{path}: {before} -> {after}")
    items = tuple(_item_capped(item, path, cap) for item in sweep.explore)
    trial = sweep.trial | {"training": sweep.trial.get("training", {}) | {field: cap(old)}}
    return dataclasses.replace(sweep, trial=trial, explore=items), lines


def _item_capped(item: Item, path: str, cap: Callable[[Any], Any]) -> Item:
    if isinstance(item, Together) and path in item.values:
        return Together(values=item.values | {path: tuple(cap(value) for value in item.values[path])})
    if isinstance(item, Search) and path in item.space:
        return dataclasses.replace(item, space=item.space | {path: _axis_capped(item.space[path], cap)})
    return item


def _axis_capped(axis: Axis, cap: Callable[[Any], Any]) -> Axis:
    """Cap the values of an axis; a range stays one, with the same steps, if its ends still differ."""
    if isinstance(axis, Choices):
        return Choices(values=tuple(dict.fromkeys(cap(value) for value in axis.values)))
    low, high = cap(axis.low), cap(axis.high)
    if low != axis.low or high is None or high <= low:
        return Choices(values=(high,))
    return axis.up_to(high)


def _fewer(sweep: SweepConfig) -> tuple[SweepConfig, list[str]]:
    """Reduce a sweep to few configurations, one seed, no early stopping and the small built-in corpus."""
    lines = []
    most = min(sweep.schedule.max_configurations or _CONFIGURATIONS, _CONFIGURATIONS)
    if sweep.explore:
        lines.append(f"configurations: at most {most}, evenly spread over those explored")
    if sweep.replicates > 1:
        lines.append(f"replicates: {sweep.replicates} -> 1")
    if sweep.schedule.early_stopping != "none":
        lines.append(f"schedule.early_stopping: {sweep.schedule.early_stopping} -> none")
    corpus = "synthetic-demo" if sweep.corpus in ("synthetic", "synthetic-small") else sweep.corpus
    if corpus != sweep.corpus:
        lines.append(f"corpus: {sweep.corpus} -> {corpus}")
    for item in sweep.explore:
        if isinstance(item, Search) and item.count > most:
            lines.append(f"{item.kind}.count: {item.count} -> {most}")
    items = tuple(
        dataclasses.replace(item, count=min(item.count, most)) if isinstance(item, Search) else item
        for item in sweep.explore
    )
    schedule = dataclasses.replace(sweep.schedule, max_configurations=most, early_stopping="none")
    small = dataclasses.replace(sweep, corpus=corpus, explore=items, replicates=1, schedule=schedule)
    return small, lines
