"""Figure trace: gold standard and prediction over time, for one recording of one trial, as in Fig. 2 of the paper."""

import numpy as np
from numpy.typing import NDArray

from ser_ray.metrics import ccc
from ser_ray.plain_text import escaped_name
from ser_ray.report.attributes import Row
from ser_ray.report.configurations import SweepTables
from ser_ray.report.figures.drawing import (
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
from ser_ray.report.one_trial import Trace, read_chain_rows, read_recording_traces, shown_trial


def typical(traces: list[Trace]) -> Trace:
    """Choose the recording with the median CCC, the lower one if two are in the middle."""
    ordered = sorted(traces, key=lambda trace: np.nan_to_num(trace.mean_ccc, nan=-2.0))
    return ordered[(len(ordered) - 1) // 2]


def draw_trace(sweep: SweepTables, key: str | None = None) -> Drawing | None:
    """Draw gold and prediction of a trial, by default the best; None if it has no predictions with gold."""
    shown, called = shown_trial(sweep, key)
    traces = read_recording_traces(sweep, shown) if shown is not None else []
    if shown is None or not traces:
        return None
    trace = typical(traces)
    # the chain of the more thorough search: exhaustive, or greedy if there is no other
    chains = {t: list(methods.values())[-1] for t, methods in read_chain_rows(sweep, shown).items() if t in trace.gold}
    heading = f"{sweep.title}: recording {escaped_name(trace.recording)} ({trace.partition}), trial {shown}"
    figure, panels = new_figure(heading, len(trace.gold), 1, 0.8 + 1.7 * len(trace.gold), share_x=True)
    for panel, (target, gold) in zip(panels, trace.gold.items(), strict=True):
        raw = trace.prediction[target]
        panel.plot(trace.time_s, gold, color=BLACK, linewidth=1.6, label="gold standard")
        title = f"CCC {trace.ccc(target):.3f}"
        if target in chains:
            processed = _processed(chains[target], raw)
            panel.plot(trace.time_s, raw, color=PALE_BLUE, linewidth=0.9, label="raw prediction")
            panel.plot(trace.time_s, processed, color=ORANGE, linewidth=1.4, label="processed prediction")
            title += f" raw, {ccc(processed, gold):.3f} processed"
        else:
            panel.plot(trace.time_s, raw, color=BLUE, linewidth=0.9, label="prediction")
        set_labels(panel, y=target, title=title)
        panel.margins(x=0.01)
    panels[-1].set_xlabel("time (s)", fontsize=FONT_PT)
    add_legend(figure, panels[0])
    caption = _caption(trace, len(traces), called, {row["method"] for row in chains.values()})
    return Drawing("trace", "Gold standard and prediction", caption, figure)


def _processed(row: Row, raw: NDArray[np.float64]) -> NDArray[np.float64]:
    from ser_ray.postprocess import PostProcessing, apply

    (processed,) = apply(PostProcessing.of_row(row), [raw])
    return processed


def _caption(trace: Trace, count: int, trial: str, methods: set[str]) -> str:
    chain = ""
    if methods:
        searched = " or ".join(sorted(methods))
        own = ", this recording among them" if trace.partition == "devel" else ""
        chain = f" Processed: after the chain that the {searched} search chose on devel{own}."
    prediction = ", raw prediction (pale) and processed prediction (orange)" if methods else " and raw prediction"
    return (
        f"Gold standard (black){prediction} of {trial}.{chain} The recording is the one with the median CCC (mean of "
        f"its targets, raw) of the {count} recordings of {trace.partition} with gold; the CCC above a panel is its own."
    )
