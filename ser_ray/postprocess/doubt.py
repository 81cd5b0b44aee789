"""Whether a devel partition is large enough to choose a chain of post-processing by.

That is a property of devel and predictions, not of the one chain: by benchmarks/bench_unseen.py few recordings, and
predictions in which there is nothing to mend, are doubted most of the time, while of two chains that were chosen on
devels of one kind, the doubted one is hardly worse.
"""

import math

from ser_ray.postprocess.search import SearchResult

LOST_SHARE = 0.5
"""Of the gain on devel; if more is lost on recordings that the search has not seen, the choice is in doubt."""
LOST_LEAST = 0.005
"""A smaller loss of CCC is no reason for doubt, whatever share of the gain it is."""


def doubt(result: SearchResult, recordings: int) -> str | None:
    """Return why devel is in doubt as what a chain is chosen by; None if it is not.

    Args:
        result: of a search with folds.
        recordings: of devel.
    """
    gain = result.ccc - result.raw_ccc
    if not gain > 0:  # nothing was chosen, or there is no CCC at all
        return None
    if result.folds < 2:
        return "devel has one recording, so nothing tells what the search brings on others"
    unseen = result.crossfit_ccc - result.raw_ccc
    lost = gain - unseen
    if math.isnan(lost) or lost < max(LOST_LEAST, LOST_SHARE * gain):
        return None
    return (
        f"the search gains {gain:+.3f} on devel, but an estimated {unseen:+.3f} on recordings that it has not seen: "
        f"{recordings} recordings are too few to choose a chain by"
    )
