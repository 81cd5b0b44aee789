"""Fields of a trial's configuration that were added after the first release, and the values that reproduce it.

A field with this value is left out of a trial's key and of its stored configuration, so that no stored result loses its
key by a new version. The values stand for good, whatever a field's default becomes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

ADDED_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "model": {
        "front_end": "conv",
        "filters": 40,
        "width_ms": 25.0,
        "hop_ms": 10.0,
        "energy_steps": 1,
        "filter_start": "mel",
        "filter_rate": 0.1,
        "compression": "none",
        "normalization": "none",
        "statistics": "segment",
        "average": 1,
        "dropouts": None,
        "temporal": "lstm",
        "dilations": (1, 2, 4, 8, 16),
        "tcn_kernel": 5,
        "causal": False,
        "temporal_dropout": 0.3,
    },
    "training": {"clip_norm": None, "estimate_delay": False},
}


def without_added(section: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a section ("model", "training") without those added that have their first value."""
    added = ADDED_FIELDS[section]
    return {name: value for name, value in fields.items() if name not in added or value != added[name]}


def fill_in_added(configurations: Sequence[dict[str, Any]]) -> None:
    """Give each stored configuration, by dotted field, the added fields that others of them have."""
    present = {name for fields in configurations for name in fields}
    for section, added in ADDED_FIELDS.items():
        for name, value in added.items():
            if f"{section}.{name}" in present:
                for fields in configurations:
                    fields.setdefault(f"{section}.{name}", list(value) if isinstance(value, tuple) else value)
