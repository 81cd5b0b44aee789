"""How data lies on a user's disk: one small module per layout, each listed here."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ser_ray.corpus.layouts import table
from ser_ray.corpus.layouts.description import Description

LAYOUTS: Mapping[str, Callable[[Path], Description]] = {"table": table.read}
"""The layouts that `ser-ray corpus import` understands, by name."""
