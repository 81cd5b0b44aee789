"""The text of a sweep file for a sweep as it ran, with every default filled in."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ser_ray.sweep.planning.plan import Plan
from ser_ray.sweep.spec.items import Design, Item, Together
from ser_ray.trial import TrialConfig


def resolved_yaml(plan: Plan, comments: Sequence[str] = ()) -> str:
    """Write, as text, the sweep file that plans the same trials again even if defaults change later.

    All defaults are filled in, overrides applied, ranges of values written as lists, and designs given their hop.
    `comments` are lines for its head, such as the command.
    """
    config = plan.config
    explored = {path for item in config.explore for path in item.paths}
    trial = {
        section: {
            field: config.given(f"{section}.{field}", default)
            for field, default in fields.items()
            if f"{section}.{field}" not in explored
        }
        for section, fields in dataclasses.asdict(TrialConfig()).items()
    }
    contents = {
        "name": config.name,
        "corpus": config.corpus,
        "trial": trial,
        "explore": [_item(item, plan.corpus.hop) for item in config.explore],
        "replicates": config.replicates,
        "schedule": dataclasses.asdict(config.schedule),
        "resources": dataclasses.asdict(config.resources),
    }
    head = [
        f"the sweep as run, trials: {len(plan.trials)}",
        f"corpus fingerprint: {plan.corpus.fingerprint}",
        *comments,
    ]
    lines = [f"# {line}" for comment in head for line in comment.splitlines()]
    return "\n".join(lines + _block(contents)) + "\n"


def _item(item: Item, hop: int) -> dict[str, Any]:
    if isinstance(item, Design):
        return {"design": dataclasses.asdict(item) | {"hop": item.hop or hop}}
    if isinstance(item, Together):
        return dict(item.values)
    return {item.kind: item.options | {path: axis.written() for path, axis in item.space.items()}}


def _block(contents: Mapping[str, Any]) -> list[str]:
    """Format a mapping as YAML lines: sections indented, everything deeper on one line as JSON, which is YAML too."""
    lines = []
    for key, value in contents.items():
        if isinstance(value, dict):
            lines.append(f"{key}:")
            lines += [f"  {line}" for line in _block(value)]
        elif key == "explore" and value:
            lines.append(f"{key}:")
            lines += [
                f"  {'- ' if not line else '  '}{text}" for item in value for line, text in enumerate(_block(item))
            ]
        else:
            lines.append(f"{key}: {json.dumps(value, ensure_ascii=False)}")
    return lines
