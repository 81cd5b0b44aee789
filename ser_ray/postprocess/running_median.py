"""Running medians of one trace for many window lengths at once, at a constant cost per median.

For a fixed centre, the window of k frames to either side loses two frames when it shrinks to k - 1.
So its median stays, or moves to a neighbour in sorted order. A doubly linked list of the window's
frames in sorted order, from which frames are removed two by two, therefore gives the medians of all
windows about a centre, the longest first. Frames are compared by rank, and ties are broken by time,
so the medians are exact values of the trace.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ser_ray.kernel_cache import compiled

Kernel = Callable[[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], int, NDArray[np.float64]], None]

# Number of centres that share a sorted list: more make each list longer, fewer sort more often.
_BLOCK = 64


def running_medians(
    padded: NDArray[np.float64], windows: Sequence[int], out: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Compute the medians [windows, centres] of all windows about all centres, written to `out` if it is given.

    `padded` [centres + longest window - 1] is the finite trace, extended by half of the longest window before its first
    centre and after its last one, with neighbouring frames or repeated edge values. Windows are odd lengths in frames,
    ascending.
    """
    halves = np.asarray(windows, np.int64) // 2
    longest = int(halves[-1])
    rows = np.full(longest + 1, -1, np.int64)
    rows[halves] = np.arange(halves.size)
    if out is None:
        out = np.empty((halves.size, padded.size - 2 * longest))
    assert out.shape == (halves.size, padded.size - 2 * longest)
    _kernel()(padded, np.argsort(padded, kind="stable"), rows, int(halves[0]), out)
    return out


def warm() -> None:
    """Compile the kernel into Numba's cache on disk, for other processes."""
    _kernel()


@functools.cache
def _kernel() -> Kernel:
    signature = "void(float64[::1], int64[::1], int64[::1], int64, float64[:, :])"
    kernel: Kernel = compiled(_fill_medians, signature)
    return kernel


def _fill_medians(
    padded: NDArray[np.float64],
    order: NDArray[np.int64],
    rows: NDArray[np.int64],
    shortest: int,
    out: NDArray[np.float64],
) -> None:
    """Write the medians to out [windows, centres].

    `order` lists the frames of padded [centres + 2 longest] by ascending value. `rows[k]` is the row of `out` for the
    window of k frames to either side, or -1, for k up to `longest`. `shortest` is the smallest k of all windows.
    """
    longest = rows.size - 1
    centres = out.shape[1]
    capacity = min(_BLOCK, centres) + 2 * longest + 2
    # Frames of a block are identified by rank, 1 .. ranks; 0 and ranks + 1 are the ends of the lists.
    rank = np.empty(capacity, np.int32)  # of a frame
    value = np.empty(capacity, np.float64)  # of a rank
    inside = np.empty(capacity, np.bool_)  # whether a rank is in the widest window
    widest_before, before = np.empty(capacity, np.int32), np.empty(capacity, np.int32)
    widest_after, after = np.empty(capacity, np.int32), np.empty(capacity, np.int32)
    for start in range(0, centres, _BLOCK):
        stop = min(start + _BLOCK, centres)
        ranks = tail = middle = members = 0
        inside[0] = True
        for i in order:
            if start <= i < stop + 2 * longest:
                ranks += 1
                rank[i - start] = ranks
                value[ranks] = padded[i]
                inside[ranks] = i <= start + 2 * longest
                if inside[ranks]:
                    widest_after[tail], widest_before[ranks] = ranks, tail
                    tail = ranks
                    if members == longest:
                        middle = ranks
                    members += 1
        widest_after[tail], widest_before[ranks + 1] = ranks + 1, tail
        for centre in range(stop - start):
            if centre > 0:
                old, new = rank[centre - 1], rank[centre + 2 * longest]
                below = new - 1
                while not inside[below]:
                    below -= 1
                above = widest_after[below]
                widest_after[below], widest_before[new] = new, below
                widest_after[new], widest_before[above] = above, new
                lower, higher = widest_before[middle], widest_after[middle]
                balance = (old < middle) + (new > middle) - (old > middle) - (new < middle)
                middle = higher if balance > 0 else (lower if balance < 0 else middle)
                widest_after[widest_before[old]] = widest_after[old]
                widest_before[widest_after[old]] = widest_before[old]
                inside[old], inside[new] = False, True
            for r in range(ranks + 2):
                before[r], after[r] = widest_before[r], widest_after[r]
            median = middle
            for k in range(longest, shortest, -1):
                if rows[k] >= 0:
                    out[rows[k], start + centre] = value[median]
                a, b = rank[centre + longest - k], rank[centre + longest + k]
                lower, higher = before[median], after[median]
                # If more frames are lost below than above, the median moves up, and vice versa.
                balance = (a < median) + (b < median) - (a > median) - (b > median)
                median = higher if balance > 0 else (lower if balance < 0 else median)
                after[before[a]], before[after[a]] = after[a], before[a]
                after[before[b]], before[after[b]] = after[b], before[b]
            out[rows[shortest], start + centre] = value[median]
