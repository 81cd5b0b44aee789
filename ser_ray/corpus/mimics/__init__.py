"""Write small made-up data in the layouts that `ser-ray corpus import` reads: one module per layout, listed here."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ser_ray.corpus.mimics import (
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

MIMICS: Mapping[str, Callable[[Path, float, int], None]] = {
    "table": table.write,
    "recola_avec": recola_avec.write,
    "recola": recola.write,
    "recola46": recola46.write,
    "sewa": sewa.write,
    "muse": muse.write,
    "msp_conversation": msp_conversation.write,
    "semaine": semaine.write,
    "audformat": aud_format.write,
}
"""Layout -> function that writes a mimic, given the folder, the seconds of each recording and a seed."""
