"""Draw a corpus on one page: durations, histograms and autocorrelation of labels, and agreement of raters."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ser_ray.corpus.describing.figures import PartitionFigures, raters_figures
from ser_ray.corpus.progress import track
from ser_ray.corpus.store.reader import Corpus
from ser_ray.corpus.store.schema import PARTITIONS
from ser_ray.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
COLORS: Mapping[str, str] = {"train": "#0072B2", "devel": "#E69F00", "test": "#009E73"}
"""Distinguishable for colour-blind readers (Okabe and Ito 2008); in greyscale, dashes distinguish the partitions."""
DASHES: Mapping[str, str] = {"train": "-", "devel": "--", "test": "-."}
TARGET_STYLES = (("#000000", "-"), ("#CC79A7", "--"), ("#56B4E9", "-."), ("#D55E00", ":"))

WIDTH_IN, ROW_IN = 7.0, 2.3
FONT_PT = 9.0
DPI = 200
BINS = 40
LONGEST_LAG_S = 20.0
POINTS = 60
"""Up to this number, recordings are also drawn one by one."""


def picture_format(path: str | Path) -> str:
    """Return the format given by the suffix of a picture's file name."""
    suffix = Path(path).suffix[1:].lower()
    if suffix not in FORMATS:
        named = [f"{Path(path).stem or 'corpus'}.{form}" for form in FORMATS]
        raise InputError(f"picture is {str(path)!r}, but must end in one of {', '.join(FORMATS)}: {', '.join(named)}")
    return suffix


def write_picture(figure: "Figure", path: str | Path) -> None:
    """Write a figure in the format of the path's suffix; equal figures make equal files.

    Raises:
        InputError: if the format is not one of FORMATS, or the file cannot be written.
    """
    import matplotlib

    form = picture_format(path)
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}[form]
    # TrueType fonts (type 42): journals refuse matplotlib's default.
    with matplotlib.rc_context({"pdf.fonttype": 42, "svg.hashsalt": "ser_ray"}):
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, format=form, dpi=DPI, metadata=undated)
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror})") from error


def draw_corpus(corpus: Corpus, figures: Mapping[str, PartitionFigures]) -> "Figure":
    """Draw a page with durations, agreement of raters, a histogram per target, and autocorrelation of gold."""
    from matplotlib.figure import Figure

    rows = (len(corpus.targets) + 4) // 2
    figure = Figure(figsize=(WIDTH_IN, ROW_IN * rows), layout="constrained")
    everyone = figures["all"]
    figure.suptitle(
        f"corpus {corpus.name}: {everyone.recordings} recordings, {everyone.hours:.2f} h, {everyone.speakers} "
        f"speakers, {corpus.label_rate:g} labels per second",
        fontsize=FONT_PT + 1,
    )
    grid = figure.add_gridspec(rows, 2)
    durations, agreement = (figure.add_subplot(grid[0, column]) for column in range(2))
    histograms = [figure.add_subplot(grid[1 + number // 2, number % 2]) for number in range(len(corpus.targets))]
    last = grid[-1, :] if len(corpus.targets) % 2 == 0 else grid[-1, 1]
    moving = figure.add_subplot(last)
    for panel in (durations, agreement, *histograms, moving):
        panel.tick_params(labelsize=FONT_PT - 1)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(visible=True, color="#e6e6e6", linewidth=0.6)
        panel.set_axisbelow(True)
    _draw_durations(durations, corpus)
    _draw_agreement(agreement, corpus)
    shares, curves = _read_gold(corpus, figures["all"])
    for panel, target in zip(histograms, corpus.targets, strict=True):
        _draw_histogram(panel, target, *shares[target])
    _draw_autocorrelation(moving, curves)
    handles, labels = durations.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=FONT_PT - 1, frameon=False)
    return figure


def _label(panel: "Axes", x: str, y: str, title: str) -> None:
    panel.set_xlabel(x, fontsize=FONT_PT)
    panel.set_ylabel(y, fontsize=FONT_PT)
    panel.set_title(title, fontsize=FONT_PT)


def _write_note(panel: "Axes", text: str) -> None:
    """Write a text in an empty panel."""
    panel.grid(visible=False)
    panel.set_xticks([])
    panel.set_yticks([])
    panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", va="center", fontsize=FONT_PT, color="#777777")


def _draw_durations(panel: "Axes", corpus: Corpus) -> None:
    seconds = {p: np.array([r.samples for r in corpus.recordings(p)]) / corpus.sample_rate for p in PARTITIONS}
    seconds = {partition: lengths for partition, lengths in seconds.items() if lengths.size}
    longest_s = max((lengths.max() for lengths in seconds.values()), default=0)
    unit, divisor = ("min", 60.0) if longest_s >= 120 else ("s", 1.0)
    for place, (partition, lengths) in enumerate(seconds.items()):
        label = f"{partition} ({lengths.size} recordings, {lengths.sum() / 3600:.2f} h)"
        _draw_spread(panel, lengths / divisor, -place, partition, width=0.5, upright=False)
        panel.plot([], [], color=COLORS[partition], linestyle=DASHES[partition], label=label)
    panel.set_yticks([-place for place in range(len(seconds))], list(seconds))
    panel.set_ylim(-len(seconds) + 0.4, 0.6)
    panel.set_xlim(left=0)
    _label(panel, f"duration [{unit}]", "", "Durations of recordings")


def _draw_spread(
    panel: "Axes", values: NDArray[np.float64], place: float, partition: str, *, width: float, upright: bool
) -> None:
    """Draw a box of the quartiles with whiskers to the extremes, and each value if there are at most POINTS."""
    line = {"color": COLORS[partition], "linewidth": 1.2}
    panel.boxplot(
        [values],
        positions=[place],
        orientation="vertical" if upright else "horizontal",
        widths=width,
        whis=(0, 100),
        boxprops=line,
        whiskerprops=line,
        capprops=line,
        medianprops={**line, "linewidth": 2.2},
        showfliers=False,
        manage_ticks=False,
    )
    if values.size <= POINTS:
        beside = place + width * np.linspace(-0.3, 0.3, values.size)
        x, y = (beside, values) if upright else (values, beside)
        panel.plot(x, y, "o", color=COLORS[partition], markersize=2.2, alpha=0.5)


def _draw_agreement(panel: "Axes", corpus: Corpus) -> None:
    """Draw, per target and partition, the distribution over recordings of the raters' mean pairwise CCC."""
    partition_of = {recording.name: p for p in PARTITIONS for recording in corpus.recordings(p)}
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    everyone = [recording for p in PARTITIONS for recording in corpus.recordings(p)]
    for rated in raters_figures(corpus, everyone):
        if not np.isnan(rated.ccc) and rated.target in corpus.targets:
            values[rated.target, partition_of[rated.recording]].append(rated.ccc)
    if not values:
        _label(panel, "", "", "Agreement of raters")
        _write_note(panel, "no two raters' traces\nin this corpus")
        return
    for (target, partition), ccc in values.items():
        place = corpus.targets.index(target) + 0.26 * (PARTITIONS.index(partition) - 1)
        _draw_spread(panel, np.array(ccc), place, partition, width=0.2, upright=True)
    panel.set_xticks(range(len(corpus.targets)), corpus.targets)
    panel.set_xlim(-0.5, len(corpus.targets) - 0.5)
    _label(panel, "", "mean CCC of two raters", "Agreement of raters, each recording")


def _read_gold(
    corpus: Corpus, figures: PartitionFigures
) -> tuple[dict[str, tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]], dict[str, NDArray[np.float64]]]:
    """Compute histograms and autocorrelation of gold, reading one recording at a time."""
    labelled = [r for p in PARTITIONS for r in corpus.recordings(p) if r.labelled]
    edges = {target: _edges(figures.targets[target].low, figures.targets[target].high) for target in corpus.targets}
    counts = {t: defaultdict[str, NDArray[np.float64]](lambda: np.zeros(BINS)) for t in corpus.targets}
    longest = max((recording.frames for recording in labelled), default=0)
    lags = 1 + min(round(LONGEST_LAG_S * corpus.label_rate), longest // 2)
    sums, numbers = np.zeros((len(corpus.targets), lags)), np.zeros((len(corpus.targets), lags))
    for recording in track(labelled, "drawing labels"):
        gold = corpus.gold(recording).astype(np.float64)
        for column, target in enumerate(corpus.targets):
            trace = gold[:, column]
            counts[target][recording.partition] += np.histogram(trace[~np.isnan(trace)], edges[target])[0]
            curve = autocorrelations(trace, lags)
            sums[column, : curve.size] += curve
            numbers[column, : curve.size] += 1
    shares = {
        target: (edges[target], {p: 100 * found / max(1.0, found.sum()) for p, found in by_partition.items()})
        for target, by_partition in counts.items()
    }
    seconds = np.arange(lags) / corpus.label_rate
    curves = {}
    for column, target in enumerate(corpus.targets):
        known = numbers[column] > 0
        curves[target] = np.stack([seconds[known], sums[column, known] / numbers[column, known]])
    # per target: bin edges and percentages of frames by partition; lags in seconds and mean autocorrelation, [2, lags]
    return shares, curves


def _edges(low: float, high: float) -> NDArray[np.float64]:
    """Return the bin edges of a histogram over [-1, 1], or over [low, high] if labels lie outside."""
    if not (low < -1 or high > 1):
        low, high = -1.0, 1.0
    return np.linspace(low, high if high > low else low + 1, BINS + 1)


def autocorrelations(trace: NDArray[np.float64], lags: int) -> NDArray[np.float64]:
    """Return `figures.autocorrelation` of a trace at lags of 0, 1, 2, ... frames: [at most lags].

    Lags end at half the frames; the result is empty for a trace that is constant or contains NaN.
    """
    moved = trace - trace.mean()
    if trace.size < 2 or np.isnan(moved).any() or np.ptp(trace) == 0:
        return np.empty(0)
    lags = min(lags, trace.size // 2 + 1)
    # Padding with at least as many zeros as lags keeps the circular correlation from wrapping around.
    size = 1 << int(trace.size + lags).bit_length()
    power = np.abs(np.fft.rfft(moved, size)) ** 2
    products = np.fft.irfft(power, size)[:lags]
    return np.asarray(products / products[0])


def _draw_histogram(
    panel: "Axes", target: str, edges: NDArray[np.float64], shares: Mapping[str, NDArray[np.float64]]
) -> None:
    _label(panel, f"gold of {target}", "frames [%]", f"Labels: {target}")
    if not shares:
        _write_note(panel, "no labelled recordings")
    for partition, percent in shares.items():
        panel.stairs(percent, edges, color=COLORS[partition], linestyle=DASHES[partition], linewidth=1.4)


def _draw_autocorrelation(panel: "Axes", curves: Mapping[str, NDArray[np.float64]]) -> None:
    _label(panel, "lag [s]", "autocorrelation of gold", "Autocorrelation (mean over recordings)")
    drawn: Sequence[str] = [target for target, curve in curves.items() if curve.size]
    if not drawn:
        _write_note(panel, "no labelled recordings")
        return
    panel.axhline(0, color="#777777", linewidth=0.8)
    for number, target in enumerate(drawn):
        color, dashes = TARGET_STYLES[number % len(TARGET_STYLES)]
        panel.plot(*curves[target], linestyle=dashes, color=color, linewidth=1.4, label=target)
    panel.set_xlim(left=0)
    panel.legend(fontsize=FONT_PT - 1, frameon=False, loc="upper right")
