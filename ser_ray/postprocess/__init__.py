"""Post-processing of predictions: chains of simple steps, and the searches that choose one on the devel partition.

A `chain` is applied to predictions, of any partition. A `search` takes a `devel` partition and a `grid` of chains: it
sums over the frames (`sums`, with `running_median`), has the CCC of every chain in closed form (`table`), takes one
(`choice`), estimates what that brings on recordings that it has not seen (`crossfit`) and says where devel is too small
(`doubt`). The configuration is here at once; what needs SciPy and Numba comes when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ser_ray.postprocess.config import SearchConfig

if TYPE_CHECKING:
    from ser_ray.postprocess.chain import PostProcessing, apply
    from ser_ray.postprocess.search import SearchResult, search_exhaustive, search_greedy

__all__ = [
    "PostProcessing",
    "SearchConfig",
    "SearchResult",
    "apply",
    "search_exhaustive",
    "search_greedy",
]

_LAZY = {
    "PostProcessing": "chain",
    "SearchResult": "search",
    "apply": "chain",
    "search_exhaustive": "search",
    "search_greedy": "search",
}


def __getattr__(name: str) -> Any:
    """Import a part of the package on first use."""
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
