"""Post-processing of predictions: chains of simple steps, and the searches that choose one on the devel partition.

A `chain` is applied to predictions of any partition. A `search` takes a `devel` partition and a `grid` of chains: it
sums over the frames (`sums`, with `running_median`), computes the CCC of every chain in closed form, chooses one
(`table`) and estimates its gain on recordings that it has not seen (`crossfit`). The configuration is imported at
once; modules that need SciPy and Numba are imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ser_ray.postprocess.config import SearchConfig

if TYPE_CHECKING:
    from ser_ray.postprocess.chain import PostProcessing, apply
    from ser_ray.postprocess.search import SearchResult, search_exhaustive, search_greedy

__all__ = ["PostProcessing", "SearchConfig", "SearchResult", "apply", "search_exhaustive", "search_greedy"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = "chain" if name in ("PostProcessing", "apply") else "search"
        return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
