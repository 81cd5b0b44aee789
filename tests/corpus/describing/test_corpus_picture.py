import numpy as np
import pytest
from corpus_cases import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from ser_ray.corpus import CorpusWriter, open_corpus
from ser_ray.corpus.__main__ import main
from ser_ray.corpus.describing.figures import autocorrelation, corpus_figures
from ser_ray.corpus.describing.picture import autocorrelations, draw_corpus, picture_format, write_picture
from ser_ray.errors import InputError
from ser_ray.metrics import ccc

HOP, RATE = 64, 250.0
LENGTHS = {"train": (700, 500, 600), "devel": (650,), "test": (550, 10)}


def _make(out, targets=("arousal", "valence"), *, raters=True, gold=True, scale=1.0):
    rng = np.random.default_rng(1)
    with CorpusWriter(out, name="mine", label_rate=RATE, targets=targets) as writer:
        for partition, lengths in LENGTHS.items():
            for number, frames in enumerate(lengths):
                labels = scale * np.tanh(np.cumsum(rng.normal(0, 0.1, (frames, len(targets))), axis=0))
                ratings = {t: {r: rng.normal(labels[:, i], 0.3) for r in "AB"} for i, t in enumerate(targets)}
                writer.add(
                    f"{partition}_{number}",
                    partition,
                    f"{partition}{number}",
                    noise(frames * HOP, number),
                    labels.astype(np.float32) if gold and partition != "test" else None,
                    ratings=ratings if raters else None,
                )
    return open_corpus(out)


def _draw(corpus):
    return draw_corpus(corpus, corpus_figures(corpus))


def _texts(panel):
    return panel.get_title(), panel.get_xlabel(), panel.get_ylabel()


def test_panels_and_their_labels(tmp_path):
    figure = _draw(_make(tmp_path / "c"))
    assert [_texts(panel) for panel in figure.axes] == [
        ("Durations of recordings", "duration [s]", ""),
        ("Agreement of raters, each recording", "", "mean CCC of two raters"),
        ("Labels: arousal", "gold of arousal", "frames [%]"),
        ("Labels: valence", "gold of valence", "frames [%]"),
        ("Autocorrelation (mean over recordings)", "lag [s]", "autocorrelation of gold"),
    ]
    hours = 3010 / RATE / 3600
    assert figure.get_suptitle() == f"corpus mine: 6 recordings, {hours:.2f} h, 6 speakers, 250 labels per second"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == [
        "train (3 recordings, 0.00 h)",
        "devel (1 recordings, 0.00 h)",
        "test (2 recordings, 0.00 h)",
    ]


def test_durations(tmp_path):
    corpus = _make(tmp_path / "c")
    panel = _draw(corpus).axes[0]
    assert [tick.get_text() for tick in panel.get_yticklabels()] == ["train", "devel", "test"]
    dots = [line.get_xdata() for line in panel.lines if line.get_marker() == "o"]
    expected = [np.array(frames) / RATE for frames in LENGTHS.values()]
    assert all(np.allclose(d, e) for d, e in zip(dots, expected, strict=True))
    assert panel.get_xlim()[0] == 0


def test_long_durations_are_in_minutes(tmp_path):
    with CorpusWriter(tmp_path / "c", name="c", label_rate=RATE, targets=("arousal",)) as writer:
        for name, seconds in (("a", 150), ("b", 30)):
            writer.add(name, "devel", name, noise(seconds * 16000), None)
    panel = _draw(open_corpus(tmp_path / "c")).axes[0]
    (dots,) = [line.get_xdata() for line in panel.lines if line.get_marker() == "o"]
    assert list(dots) == [2.5, 0.5]
    assert panel.get_xlabel() == "duration [min]"
    assert [tick.get_text() for tick in panel.get_yticklabels()] == ["devel"]


def test_agreement(tmp_path):
    corpus = _make(tmp_path / "c")
    panel = _draw(corpus).axes[1]
    dots = [(line.get_xdata().mean(), line.get_ydata()) for line in panel.lines if line.get_marker() == "o"]
    expected = []
    for place, target in enumerate(corpus.targets):
        for beside, partition in enumerate(LENGTHS):
            values = [ccc(*corpus.ratings(r)[target]) for r in corpus.recordings(partition)]
            expected.append((place + 0.26 * (beside - 1), values))
    for place, values in expected:
        (found,) = [v for x, v in dots if abs(x - place) < 0.1]
        np.testing.assert_allclose(found, values, rtol=1e-6)
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["arousal", "valence"]


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_histograms(tmp_path, scale):
    corpus = _make(tmp_path / "c", scale=scale)
    panels = _draw(corpus).axes[2:4]
    for column, panel in enumerate(panels):
        drawn = [patch.get_data() for patch in panel.patches]
        assert len(drawn) == 2  # test has no gold
        labels = {p: np.concatenate([corpus.gold(r)[:, column] for r in corpus.recordings(p)]) for p in LENGTHS}
        whole = np.concatenate([labels["train"], labels["devel"]])
        low, high = (-1, 1) if scale == 1 else (whole.min(), whole.max())
        for (values, edges, _), partition in zip(drawn, ("train", "devel"), strict=True):
            counts, expected_edges = np.histogram(labels[partition], 40, (low, high))
            np.testing.assert_allclose(edges, expected_edges, atol=1e-6)
            np.testing.assert_allclose(values, 100 * counts / counts.sum(), atol=0.5)
            assert values.sum() == pytest.approx(100)


def test_autocorrelation_is_the_mean_over_recordings(tmp_path):
    corpus = _make(tmp_path / "c")
    panel = _draw(corpus).axes[-1]
    curves = {line.get_label(): line.get_xydata() for line in panel.lines if not line.get_label().startswith("_")}
    assert list(curves) == ["arousal", "valence"]
    assert [text.get_text() for text in panel.get_legend().texts] == ["arousal", "valence"]
    for column, target in enumerate(corpus.targets):
        gold = [corpus.gold(r)[:, column].astype(float) for p in ("train", "devel") for r in corpus.recordings(p)]
        assert len(curves[target]) == 351  # to half of the longest
        for lag in (0, 1, 100, 300, 350):
            lag_s, value = curves[target][lag]
            assert lag_s == pytest.approx(lag / RATE)
            expected = [autocorrelation(g, RATE, lag_s) for g in gold if len(g) >= 2 * lag]
            assert value == pytest.approx(np.mean(expected), abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 80), st.integers(1, 50), st.integers(0, 10**6))
def test_autocorrelations_are_those_of_each_lag(frames, lags, seed):
    trace = np.random.default_rng(seed).normal(3, 1, frames)
    found = autocorrelations(trace, lags)
    assert found.size == min(lags, frames // 2 + 1)
    expected = [autocorrelation(trace, 1.0, lag) for lag in range(found.size)]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_no_autocorrelation_of_constants_and_gaps():
    assert autocorrelations(np.full(9, 0.1), 4).size == 0
    assert autocorrelations(np.array([0.1, np.nan, 0.3]), 2).size == 0


@pytest.mark.parametrize("targets", [("arousal",), ("arousal", "valence", "dominance"), tuple("abcde")])
def test_any_number_of_targets_without_raters_or_gold(tmp_path, targets):
    figure = _draw(_make(tmp_path / "c", targets, raters=False, gold=False))
    assert len(figure.axes) == len(targets) + 3
    said = [[text.get_text() for text in panel.texts] for panel in figure.axes]
    assert said[0] == []
    assert said[1] == ["no two raters' traces\nin this corpus"]
    assert said[2:] == [["no labelled recordings"]] * (len(targets) + 1)


def _overlaps(boxes):
    pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]]
    return [(a, b) for (a, box), (b, other) in pairs if box.padded(-1).overlaps(other)]


def _in_view(axis):
    low, high = sorted(axis.get_view_interval())
    pairs = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
    return [label for place, label in pairs if low <= place <= high]


@pytest.mark.parametrize("targets", [("arousal",), ("arousal", "valence"), ("arousal", "valence", "dominance")])
def test_no_text_lies_on_another(tmp_path, targets):
    figure = _draw(_make(tmp_path / "c", targets))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [(legend, legend.get_window_extent(canvas.get_renderer())) for legend in figure.legends]
    texts = [figure._suptitle]
    for panel in figure.axes:
        texts += [panel.title, panel.xaxis.label, panel.yaxis.label, *_in_view(panel.xaxis), *_in_view(panel.yaxis)]
    boxes += [(text, text.get_window_extent(canvas.get_renderer())) for text in texts if text.get_text()]
    assert len(boxes) > 30
    assert _overlaps(boxes) == []
    page = figure.bbox.padded(1)
    assert all(page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1 for _, box in boxes)
    assert _overlaps([*boxes, ("again", boxes[0][1])])  # the check can fail


@pytest.mark.parametrize(
    ("form", "begin"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("PNG", b"\x89PNG")]
)
def test_files(tmp_path, capsys, form, begin):
    _make(tmp_path / "c")
    path = tmp_path / "new" / f"page.{form}"
    assert main(["info", str(tmp_path / "c"), "--picture", str(path)]) == 0
    assert capsys.readouterr().out.endswith(f"drew {path}\n")
    assert path.read_bytes().startswith(begin)


@pytest.mark.parametrize("form", ["svg", "pdf"])
def test_equal_corpora_make_equal_files(tmp_path, form):
    corpus = _make(tmp_path / "c", ("arousal",))
    for name in "ab":
        write_picture(_draw(corpus), tmp_path / f"{name}.{form}")
    assert (tmp_path / f"a.{form}").read_bytes() == (tmp_path / f"b.{form}").read_bytes()


def test_mistakes(tmp_path, capsys):
    _make(tmp_path / "c")
    with pytest.raises(InputError, match=r"picture is 'page.jpg', but must end in one of png, svg, pdf: page.png, "):
        main(["info", str(tmp_path / "c"), "--picture", "page.jpg"])
    assert capsys.readouterr().out == ""  # told before anything is read
    with pytest.raises(InputError, match="must end in one of"):
        picture_format("page")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"page\.png cannot be written \(File exists\)"):
        main(["info", str(tmp_path / "c"), "--picture", str(tmp_path / "file" / "page.png")])
