import json
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_cases import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from ser_ray.corpus import CorpusWriter, open_corpus
from ser_ray.corpus.__main__ import main
from ser_ray.corpus.describing.figures import autocorrelation, corpus_figures
from ser_ray.corpus.describing.info import as_json, remarks, shared_dyads, shared_speakers, table
from ser_ray.corpus.gold.consensus import cronbach_alpha
from ser_ray.corpus.store.raters import RATERS_FILE, rater_rows, write_raters
from ser_ray.errors import InputError
from ser_ray.metrics import ccc

RATE = 25.0
FRAMES = {"train": (300, 40, 260), "devel": (255,), "test": (270, 30)}
"""Some are too short for an autocorrelation at 5 s, one for 1 s too."""


def _walk(frames, rng):
    return np.clip(np.cumsum(rng.normal(0, 0.1, frames)), -1, 1)


def _write(out, *, raters=True, gold_of_test=False, extra=None):
    rng = np.random.default_rng(7)
    with CorpusWriter(out, name="mine", label_rate=RATE, targets=("arousal", "valence"), notice="cite me") as writer:
        for partition, lengths in FRAMES.items():
            for number, frames in enumerate(lengths):
                gold = np.stack([_walk(frames, rng) + 0.3 * number, _walk(frames, rng)], axis=1).astype(np.float32)
                traces = {f"R{i}": gold[:, 0] + rng.normal(0, 0.2 + number, frames) for i in range(2 + number)}
                writer.add(
                    f"{partition}_{number}",
                    partition,
                    f"S{partition}{number // 2}",
                    noise(frames * 640, number),
                    gold if partition != "test" or gold_of_test else None,
                    ratings={"arousal": traces} if raters else None,
                    extra=extra(partition, number) if extra else {},
                )
    return open_corpus(out)


@pytest.fixture
def corpus(tmp_path):
    return _write(tmp_path / "c", gold_of_test=True)


def _recordings(corpus, name):
    return [r for p in ("train", "devel", "test") if name in (p, "all") for r in corpus.recordings(p)]


def _literal_autocorrelation(x, lag):
    mean = sum(x) / len(x)
    return sum((x[t] - mean) * (x[t + lag] - mean) for t in range(len(x) - lag)) / sum((v - mean) ** 2 for v in x)


@pytest.mark.parametrize("name", ["train", "devel", "test", "all"])
def test_label_statistics_against_numpy(corpus, name):
    recordings = _recordings(corpus, name)
    figures = corpus_figures(corpus)[name]
    gold = [corpus.gold(r).astype(np.float64) for r in recordings]
    for column, target in enumerate(corpus.targets):
        found = figures.targets[target]
        together = np.concatenate(gold)[:, column]
        np.testing.assert_allclose(
            [found.mean, found.std, found.low, found.high],
            [together.mean(), together.std(), together.min(), together.max()],
            rtol=1e-12,
        )
        for lag_s, lag in ((1.0, 25), (5.0, 125)):
            long = [g[:, column] for g in gold if len(g) >= 2 * lag]
            assert len(long) < len(gold) or name == "devel"
            expected = np.mean([_literal_autocorrelation(list(g), lag) for g in long])
            assert found.autocorrelation[lag_s] == pytest.approx(expected, rel=1e-9)


def test_sizes(corpus):
    figures = corpus_figures(corpus)
    assert {name: f.recordings for name, f in figures.items()} == {"train": 3, "devel": 1, "test": 2, "all": 6}
    assert {name: f.labelled for name, f in figures.items()} == {"train": 3, "devel": 1, "test": 2, "all": 6}
    assert {name: f.speakers for name, f in figures.items()} == {"train": 2, "devel": 1, "test": 1, "all": 4}
    assert {name: f.frames for name, f in figures.items()} == {"train": 600, "devel": 255, "test": 300, "all": 1155}
    assert figures["train"].hours == pytest.approx(600 / 25 / 3600)
    assert (figures["train"].shortest_s, figures["train"].longest_s) == (40 / 25, 300 / 25)
    assert (figures["all"].shortest_s, figures["all"].longest_s) == (30 / 25, 300 / 25)
    assert figures["all"].sexes == {}


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 60), st.integers(0, 29), st.integers(0, 10**6))
def test_autocorrelation_against_the_literal_sum(frames, lag, seed):
    x = np.random.default_rng(seed).normal(5, 1, frames)
    found = autocorrelation(x, 10.0, lag / 10)
    if frames < 2 * lag:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(_literal_autocorrelation(list(x), lag), abs=1e-9)
        assert abs(found) <= 1 + 1e-12


def test_autocorrelation_of_a_constant_is_unknown():
    assert np.isnan(autocorrelation(np.full(100, 0.1), 10.0, 1.0))


def test_a_sine_resembles_itself_after_its_period():
    wave = np.sin(2 * np.pi * np.arange(1000) / 50)
    assert autocorrelation(wave, 25.0, 2.0) == pytest.approx(1 - 50 / 1000, abs=1e-3)
    assert autocorrelation(wave, 25.0, 1.0) == pytest.approx(-(1 - 25 / 1000), abs=1e-3)


def test_raters_from_their_traces(corpus):
    figures = corpus_figures(corpus)
    for name in ("train", "devel", "all"):
        expected_ccc, expected_alpha = [], []
        for recording in _recordings(corpus, name):
            traces = corpus.ratings(recording)["arousal"].astype(np.float64)
            pairs = [ccc(traces[i], traces[j]) for i in range(len(traces)) for j in range(i)]
            expected_ccc.append(np.mean(pairs))
            expected_alpha.append(cronbach_alpha(traces))
        found = figures[name].targets["arousal"]
        assert found.agreement == pytest.approx(np.mean(expected_ccc), rel=1e-9)
        assert found.alpha == pytest.approx(np.mean(expected_alpha), rel=1e-9)
        assert np.isnan(found.weights).all()  # how gold was made is not known
    assert [figures[name].targets["arousal"].raters for name in figures] == [4, 2, 3, 4]
    assert figures["all"].targets["valence"].raters == 0
    assert np.isnan(figures["all"].targets["valence"].agreement)


def _keep_raters(corpus, change=lambda rows: rows):
    rows = []
    for recording in _recordings(corpus, "all"):
        ratings = {t: {f"R{i}": x for i, x in enumerate(traces)} for t, traces in corpus.ratings(recording).items()}
        rows += rater_rows(recording.name, ratings, "ewe")
    rows = change(rows)
    (corpus.path / RATERS_FILE).unlink(missing_ok=True)
    write_raters(corpus.path / RATERS_FILE, rows)
    return rows


def test_kept_raters_say_the_same_as_their_traces(corpus):
    computed = corpus_figures(corpus)
    rows = _keep_raters(corpus)
    kept = corpus_figures(corpus)
    for name in computed:
        ours, theirs = kept[name].targets["arousal"], computed[name].targets["arousal"]
        assert (ours.raters, ours.agreement, ours.alpha) == pytest.approx(
            (theirs.raters, theirs.agreement, theirs.alpha)
        )
        weights = [r["weight"] for r in rows if name in (r["recording"].split("_")[0], "all")]
        assert ours.weights == (min(weights), max(weights))


def test_kept_raters_are_what_is_told(corpus):
    def change(rows):
        return [{**row, "weight": 0.5, "ccc": 0.25, "alpha": 0.75} for row in rows]

    _keep_raters(corpus, change)
    found = corpus_figures(corpus)["all"].targets["arousal"]
    assert (found.agreement, found.alpha, found.weights) == (0.25, 0.75, (0.5, 0.5))


def test_a_single_rater_agrees_with_nobody(corpus):
    _keep_raters(corpus, lambda rows: [{**row, "ccc": 1.0, "alpha": None} for row in rows if row["rater"] == "R0"])
    found = corpus_figures(corpus)["all"].targets["arousal"]
    assert found.raters == 1
    assert np.isnan([found.agreement, found.alpha]).all()
    assert "arousal: up to 1 raters" in remarks(corpus, corpus_figures(corpus))


def test_kept_raters_in_many_groups_of_rows(corpus):
    computed = corpus_figures(corpus)["all"].targets["arousal"]
    _keep_raters(corpus)
    rows = pq.read_table(corpus.path / RATERS_FILE)
    with pq.ParquetWriter(corpus.path / RATERS_FILE, rows.schema) as file:
        for start in range(len(rows)):  # a recording's rows lie in several groups
            file.write_table(rows.slice(start, 1))
    assert corpus_figures(corpus)["all"].targets["arousal"].agreement == pytest.approx(computed.agreement)


def test_kept_raters_that_cannot_be_read(corpus):
    (corpus.path / RATERS_FILE).write_bytes(b"PAR?")
    with pytest.raises(InputError, match=r"raters\.parquet cannot be read \(.*\): delete it, or import"):
        corpus_figures(corpus)


@pytest.mark.parametrize("column", ["sex", "Gender", "SEX"])
def test_sexes_are_counted_by_speaker(tmp_path, column):
    corpus = _write(tmp_path / "c", extra=lambda p, n: {column: {"train": "F", "devel": "m "}.get(p, "")})
    figures = corpus_figures(corpus)
    assert figures["train"].sexes == {"f": 2}
    assert figures["all"].sexes == {"?": 1, "f": 2, "m": 1}
    assert figures["test"].sexes == {}


def test_a_sex_that_only_some_recordings_say(tmp_path):
    corpus = _write(tmp_path / "c", extra=lambda p, n: {"sex": "f" if n == 0 else ""})
    assert corpus_figures(corpus)["train"].sexes == {"?": 1, "f": 1}  # the speaker of train_0 and train_1, and another
    assert corpus_figures(corpus)["all"].sexes == {"?": 1, "f": 3}


def test_gold_that_should_not_be_there_does_not_spoil_the_rest(tmp_path):
    gold = np.random.default_rng(0).uniform(-1, 1, (3, 60, 2)).astype(np.float32)
    gold[0, :, 0] = np.nan
    gold[1, 5:9, 0] = np.nan
    with CorpusWriter(tmp_path / "c", name="c", label_rate=RATE, targets=("arousal", "valence")) as writer:
        for number in range(3):
            writer.add(f"r{number}", "train", "S", noise(60 * 640, number), gold[number])
    found = corpus_figures(open_corpus(tmp_path / "c"))["train"].targets["arousal"]
    known = gold[..., 0][~np.isnan(gold[..., 0])].astype(np.float64)
    np.testing.assert_allclose([found.mean, found.std], [known.mean(), known.std()], rtol=1e-12)
    expected = _literal_autocorrelation(list(gold[2, :, 0].astype(np.float64)), 25)
    assert found.autocorrelation[1.0] == pytest.approx(expected)


def _printed(renderable, width=100):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_table(tmp_path):
    corpus = _write(tmp_path / "c", extra=lambda p, n: {"sex": "[bold]x"})
    figures = corpus_figures(corpus)
    lines = _printed(table(figures)).splitlines()
    rows = {line[:28].strip(): line[28:].split() for line in lines}
    assert lines[1].split() == ["train", "devel", "test", "all"]
    assert rows["labelled"] == ["3", "1", "0", "4"]
    assert rows["shortest [s]"] == ["1.6", "10.2", "1.2", "1.2"]
    assert "1 [bold]x" in _printed(table(figures))  # what users write is no markup
    for name, mean in (("arousal mean", "mean"), ("valence max", "high")):
        numbers = [getattr(f.targets[name.split()[0]], mean) for f in figures.values()]
        assert rows[name] == ["-" if np.isnan(x) else f"{x:+.3f}" for x in numbers]
    assert rows["arousal autocorr. 5 s"][2] == "-"
    assert rows["arousal raters"] == ["4", "2", "3", "4"]
    assert "valence raters" not in rows  # nothing to say
    assert "arousal weights" not in rows


def test_table_tells_weights(corpus):
    _keep_raters(corpus, lambda rows: [{**row, "weight": 0.25 if row["rater"] == "R0" else 0.756} for row in rows])
    (line,) = [line for line in _printed(table(corpus_figures(corpus))).splitlines() if "arousal weights" in line]
    assert line.split()[2:] == ["0.25..0.76"] * 4


def test_remarks(tmp_path):
    def extra(partition, number):
        return {"Group_ID": "7" if number == 0 else f"{partition}{number}"}

    corpus = _write(tmp_path / "c", extra=extra)
    figures = corpus_figures(corpus)
    lines = remarks(corpus, figures)
    assert lines[0] == f"corpus mine in {tmp_path / 'c'}"
    assert lines[1] == "16000 Hz, 25 labels per second, one frame is 640 samples"
    agreed = figures["all"].targets["arousal"].agreement
    assert f"arousal: up to 4 raters; mean pairwise CCC {agreed:.3f}" in lines
    assert not any(line.startswith("valence: up to") for line in lines)
    assert "warning: dyads in more than one partition: Group_ID 7" in lines
    assert not any("speakers in more" in line for line in lines)
    assert lines[-1] == "cite me"


def test_leaks_name_a_recording_of_each_partition(tmp_path):
    out = tmp_path / "c"
    with CorpusWriter(out, name="c", label_rate=25.0, targets=("arousal",)) as writer:
        for number, (partition, speaker, session) in enumerate(
            [
                ("train", "A", "1"),
                ("train", "A", "1"),
                ("devel", "A", "2"),
                ("test", "B", "2"),
                ("test", "C", ""),
                ("train", "D", ""),
            ]
        ):
            gold = np.zeros((25, 1), np.float32)
            writer.add(f"r{number}", partition, speaker, noise(16000, number), gold, extra={"Session": session})
    corpus = open_corpus(out)
    assert {k: [r.name for r in v] for k, v in shared_speakers(corpus).items()} == {"A": ["r0", "r2"]}
    assert {k: [r.name for r in v] for k, v in shared_dyads(corpus).items()} == {"Session 2": ["r2", "r3"]}


def test_json(corpus):
    content = json.loads(as_json(corpus, corpus_figures(corpus)))
    assert list(content) == [
        "corpus",
        "path",
        "fingerprint",
        "sample_rate_hz",
        "label_rate_hz",
        "samples_per_frame",
        "targets",
        "partitions",
        "shared_speakers",
        "shared_dyads",
        "preparation",
        "notice",
    ]
    assert content["fingerprint"] == corpus.fingerprint
    assert list(content["partitions"]) == ["train", "devel", "test", "all"]
    train = content["partitions"]["train"]
    assert (train["recordings"], train["frames"], train["longest_s"]) == (3, 600, 12.0)
    found = corpus_figures(corpus)["train"].targets["arousal"]
    arousal = train["targets"]["arousal"]
    assert (arousal["mean"], arousal["std"], arousal["agreement"]) == (found.mean, found.std, found.agreement)
    assert arousal["autocorrelation"] == {"1": found.autocorrelation[1.0], "5": found.autocorrelation[5.0]}
    assert arousal["weights"] == [None, None]
    assert train["targets"]["valence"]["alpha"] is None


def test_json_on_the_command_line(small_corpus, tmp_path, capsys):
    picture = tmp_path / "new" / "small.svg"
    assert main(["info", str(small_corpus), "--json", "--picture", str(picture)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["partitions"]["all"]["recordings"] == 3
    assert said.err == f"drew {picture}\n"
    assert picture.read_text().startswith("<?xml")


def test_a_corpus_without_any_gold(tmp_path):
    with CorpusWriter(tmp_path / "c", name="c", label_rate=25.0, targets=("arousal",)) as writer:
        writer.add("a", "test", "S", noise(16000), None)
    corpus = open_corpus(tmp_path / "c")
    figures = corpus_figures(corpus)
    assert "arousal" not in _printed(table(figures))
    assert np.isnan(figures["train"].shortest_s)
    assert json.loads(as_json(corpus, figures))["partitions"]["train"]["shortest_s"] is None


def test_memory_does_not_grow_with_the_recordings(tmp_path):
    """Python and numpy report what they hold: one recording's labels at a time, not all."""
    frames = 50_000
    gold = np.random.default_rng(0).uniform(-1, 1, (frames, 1)).astype(np.float32)
    with CorpusWriter(tmp_path / "c", name="c", label_rate=16000.0, targets=("arousal",)) as writer:
        for number in range(12):
            writer.add(f"r{number}", "train", "S", noise(frames, number), gold)
    corpus = open_corpus(tmp_path / "c")
    tracemalloc.start()
    try:
        corpus_figures(corpus)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 * frames * 8  # some copies of one recording in float64; all of them together would be 12
    assert pa.total_allocated_bytes() < 10 * frames * 8
