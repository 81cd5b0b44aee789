"""How data lies on a user's disk: one small module per layout, each listed here."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ser_ray.corpus.layouts import (
    aud_format,
    msp_conversation,
    muse,
    recola,
    recola46,
    recola_avec,
    semaine,
    sewa,
    table,
)
from ser_ray.corpus.source.description import Description

LAYOUTS: Mapping[str, Callable[[Path], Description]] = {
    "table": table.read,
    "recola_avec": recola_avec.read,
    "recola": recola.read,
    "recola46": recola46.read,
    "sewa": sewa.read,
    "muse": muse.read,
    "msp_conversation": msp_conversation.read,
    "semaine": semaine.read,
    "audformat": aud_format.read,
}
"""The layouts that `ser-ray corpus import` understands, by name."""
