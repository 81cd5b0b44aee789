"""Gold standard and prediction over time, for one recording of one trial, as in Fig. 2 of the paper."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ser_ray.metrics import ccc
from ser_ray.plain_text import escaped_name
from ser_ray.report.drawing import (
    BLACK,
    BLUE,
    FONT_PT,
    ORANGE,
    PALE_BLUE,
    Drawing,
    add_legend,
    new_figure,
    set_labels,
)
from ser_ray.report.one_trial import Trace, read_chains, read_traces, shown_trial
from ser_ray.report.tables import Row, SweepTables


def typical(traces: list[Trace]) -> Trace:
    """Return the recording whose CCC is the median of all, the lower of two in the middle."""
    ordered = sorted(traces, key=lambda trace: np.nan_to_num(trace.mean_ccc, nan=-2.0))
    return ordered[(len(ordered) - 1) // 2]


def draw_trace(sweep: SweepTables, key: str | None = None) -> Drawing | None:
    """Return the figure of gold and prediction over time, raw and processed.

    Args:
        sweep: the sweep.
        key: of the trial to show; None for the best finished one.

    Returns:
        The figure; None if the trial keeps no predictions with gold.
    """
    shown, called = shown_trial(sweep, key)
    traces = read_traces(sweep, shown) if shown is not None else []
    if shown is None or not traces:
        return None
    trace = typical(traces)
    chains = {target: _last(methods) for target, methods in read_chains(sweep, shown).items() if target in trace.gold}
    title = f"{sweep.title}: recording {escaped_name(trace.recording)} ({trace.partition}), trial {shown}"
    figure, panels = new_figure(title, len(trace.gold), 1, 0.8 + 1.7 * len(trace.gold), share_x=True)
    for panel, (target, gold) in zip(panels, trace.gold.items(), strict=True):
        raw = trace.prediction[target]
        panel.plot(trace.time_s, gold, color=BLACK, linewidth=1.6, label="gold standard")
        said = f"CCC {trace.ccc(target):.3f}"
        if target in chains:
            processed = _processed(chains[target], raw)
            panel.plot(trace.time_s, raw, color=PALE_BLUE, linewidth=0.9, label="raw prediction")
            panel.plot(trace.time_s, processed, color=ORANGE, linewidth=1.4, label="processed prediction")
            said += f" raw, {ccc(processed, gold):.3f} processed"
        else:
            panel.plot(trace.time_s, raw, color=BLUE, linewidth=0.9, label="prediction")
        set_labels(panel, y=target, title=said)
        panel.margins(x=0.01)
    panels[-1].set_xlabel("time (s)", fontsize=FONT_PT)
    add_legend(figure, panels[0])
    caption = _caption(trace, len(traces), called, {row["method"] for row in chains.values()})
    return Drawing("trace", "Gold standard and prediction", caption, figure)


def _last(methods: Mapping[str, Row]) -> Row:
    """Return the chain of the more thorough search: exhaustive, or greedy where that is all there is."""
    return list(methods.values())[-1]


def _processed(row: Row, raw: NDArray[np.float64]) -> NDArray[np.float64]:
    from ser_ray.postprocess import PostProcessing, apply

    (processed,) = apply(PostProcessing.of_row(row), [raw])
    return processed


def _caption(trace: Trace, count: int, trial: str, methods: set[str]) -> str:
    chain = ""
    if methods:
        searched = " or ".join(sorted(methods))
        own = ", of which this recording is one" if trace.partition == "devel" else ""
        chain = f" Processed: after the steps that the {searched} search chose on devel{own}."
    prediction = ", raw prediction (pale) and processed prediction (orange)" if methods else " and raw prediction"
    return (
        f"Gold standard (black){prediction} of {trial}.{chain} Of the {count} recordings of {trace.partition} with "
        "gold, the one with the median CCC (mean of its targets, raw) is shown; the CCC above a panel is this "
        "recording's own."
    )
