"""Gold of all kinds of labels, aligned to the audio when the whole import is done."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from corpus_cases import TableSource
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_ray.corpus import gold_standard, open_corpus
from ser_ray.corpus.gold.consensus import agreement, cronbach_alpha, ewe_weights
from ser_ray.corpus.importing.frames import Framing
from ser_ray.corpus.importing.ingest import ImportConfig, import_corpus
from ser_ray.corpus.importing.labels import make_gold
from ser_ray.corpus.source.description import Labelled, Source
from ser_ray.corpus.source.traces import Traces
from ser_ray.errors import InputError

HOPS = [160, 320, 400, 640, 800, 1600, 4000]
CLOCK = (np.arange(16000 * 4) % 32768).astype(np.int16)
"""Audio whose samples tell what time it is, up to two seconds."""


@settings(deadline=None, max_examples=25)
@given(
    source_hop=st.sampled_from(HOPS),
    target_hop=st.sampled_from(HOPS),
    begin=st.integers(0, 3),
    alignment=st.sampled_from(["start", "end"]),
    lag=st.sampled_from([0.0, 0.5]),
)
def test_labels_stay_aligned_to_audio_for_any_pair_of_rates(source_hop, target_hop, begin, alignment, lag):
    """Labels that tell their own time come to frames whose samples tell nearly the same."""
    with tempfile.TemporaryDirectory() as folder:
        source = TableSource(Path(folder) / "s", seconds=4.0)
        source.write()
        times = np.arange(begin, 4 * 16000 // source_hop + 1) * source_hop / 16000
        for name in source.partitions:
            source.audio(name, CLOCK)
            source.labels(name, times, np.stack([times, -times], axis=1))
        config = ImportConfig(alignment=alignment, label_rate_hz=16000 / target_hop, rater_lag_s=lag)
        corpus = open_corpus(import_corpus("table", source.folder, Path(folder) / "out", config).path)
        recording = corpus.recordings("train")[0]
        first = int(np.flatnonzero(corpus.audio(recording)[0] == CLOCK)[0])
        assert first % target_hop == 0
        np.testing.assert_array_equal(corpus.audio(recording), CLOCK[first : first + recording.samples])
        frames = first // target_hop + np.arange(recording.frames) + (alignment == "end")
        instants = frames * target_hop / 16000 + lag
        gold = corpus.gold(recording).astype(np.float64)
        late = instants - gold[:, 0]
        assert late.min() > -1e-5
        assert late.max() < (source_hop + target_hop) / 16000 + 1e-5
        np.testing.assert_array_equal(gold[:, 1], -gold[:, 0])
        # nothing that is labelled is left out, but what is within a step of either end
        assert instants[0] < times[0] + (source_hop + 2 * target_hop) / 16000 + lag
        assert instants[-1] > min(times[-1], 4.0) - (source_hop + 2 * target_hop) / 16000 - (alignment == "start") * 0.3


def test_a_lag_is_recorded_and_moves_labels_ahead(table_source, tmp_path):
    config = ImportConfig(rater_lag_s=0.4)
    corpus = open_corpus(import_corpus("table", table_source.folder, tmp_path / "out", config).path)
    recording = corpus.recordings("train")[0]
    _, values = table_source.traces(0)
    np.testing.assert_array_equal(corpus.gold(recording), values[10:51].astype(np.float32))
    assert recording.frames == 41
    assert corpus.manifest.preparation["rater lag"] == "0.4 s"
    plain = open_corpus(import_corpus("table", table_source.folder, tmp_path / "plain").path)
    assert plain.manifest.preparation == {
        "layout": "table",
        "gold": "as given",
        "alignment": "rows as they are",
        "label rate": "as given",
        "rater lag": "0 s",
        "import version": "2",
    }
    assert plain.fingerprint != corpus.fingerprint


@pytest.mark.parametrize("method", ["mean", "ewe", "ccc_centred"])
def test_weights_and_agreement_of_raters_are_kept(table_source, tmp_path, method):
    rng = np.random.default_rng(1)
    times, _ = table_source.traces()
    walk = rng.standard_normal(51).cumsum()
    raters = {
        f"{target}_R{i}": (walk + rng.standard_normal(51)).round(3)
        for target in ("arousal", "valence")
        for i in range(3)
    }
    for name in table_source.partitions:
        table_source.raters(name, times, **raters)
    made = import_corpus("table", table_source.folder, tmp_path / "out", ImportConfig(gold=method))
    rows = pq.read_table(made.path / "raters.parquet").to_pylist()
    assert [row["recording"] for row in rows] == sorted(name for name in "abcd" for _ in range(6))
    first = [row for row in rows if row["recording"] == "a" and row["target"] == "valence"]
    traces = np.stack([raters[f"valence_R{i}"] for i in range(3)])
    weights = {"mean": np.ones(3), "ewe": ewe_weights(traces), "ccc_centred": agreement(traces)}[method]
    assert [row["rater"] for row in first] == ["R0", "R1", "R2"]
    np.testing.assert_array_equal([row["weight"] for row in first], weights)
    np.testing.assert_array_equal([row["ccc"] for row in first], agreement(traces))
    assert {row["alpha"] for row in first} == {cronbach_alpha(traces)}
    assert {row["missing_frames"] for row in first} == {0}


def test_without_raters_there_is_no_file_of_them(table_source, tmp_path):
    made = import_corpus("table", table_source.folder, tmp_path / "out")
    assert not (made.path / "raters.parquet").exists()


def test_raters_who_rate_at_times_of_their_own(table_source, tmp_path):
    """Each is brought to frames, and gold begins where all targets have a rater."""
    times = np.array([0.3, 0.55, 0.9, 1.3, 1.8])
    for name in table_source.partitions:
        table_source.raters(name, times, arousal_R1=times, arousal_R2=2 * times, valence_R1=-times)
        (table_source.folder / "labels" / f"{name}.csv").unlink()
    config = ImportConfig(label_rate_hz=25, alignment="start", gold="mean")
    corpus = open_corpus(import_corpus("table", table_source.folder, tmp_path / "out", config).path)
    recording = corpus.recordings("train")[0]
    held = times[np.searchsorted(times, np.arange(8, 46) * 0.04 + 1e-6, side="right") - 1]
    np.testing.assert_allclose(corpus.gold(recording), np.stack([1.5 * held, -held], axis=1), atol=1e-6)
    expected = gold_standard(np.stack([held, 2 * held]), "mean").astype(np.float32)
    np.testing.assert_array_equal(corpus.gold(recording)[:, 0], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gold": "median"}, "gold standard is 'median', but must be one of mean, ewe, ccc_centred"),
        ({"alignment": "middle"}, "alignment is 'middle', but must be one of start, end"),
        ({"label_rate_hz": 30.0}, "label rate is 30 Hz, which is not a whole number of samples per frame"),
        ({"label_rate_hz": 1e-320}, "it must be at least 1e-6"),
        ({"label_rate_hz": -1.0}, "it must be at least 1e-6"),
        ({"rater_lag_s": -1.0}, "rater lag is -1 s, but must be 0 to 20"),
        ({"rater_lag_s": 21.0}, "rater lag is 21 s, but must be 0 to 20"),
    ],
)
def test_options_that_no_import_has(options, message):
    with pytest.raises(InputError, match=message):
        ImportConfig(**options)


def test_jobs_change_nothing(table_source, tmp_path, monkeypatch):
    monkeypatch.setattr("ser_ray.corpus.importing.ingest.ALONE_S", 0.0)
    one = import_corpus("table", table_source.folder, tmp_path / "one", jobs=1)
    two = import_corpus("table", table_source.folder, tmp_path / "two", jobs=2)
    assert open_corpus(one.path).fingerprint == open_corpus(two.path).fingerprint
    with pytest.raises(InputError, match="jobs is 0, but must be at least 1"):
        import_corpus("table", table_source.folder, tmp_path / "three", jobs=0)


@pytest.mark.parametrize("rate", [None, 25.0])
def test_a_lag_longer_than_all_ratings(table_source, tmp_path, rate):
    times, values = table_source.traces()
    for name in table_source.partitions:
        (table_source.folder / "labels" / f"{name}.csv").unlink()
        table_source.raters(name, times, arousal_R1=values[:, 0], valence_R1=values[:, 1])
    config = ImportConfig(rater_lag_s=5.0, label_rate_hz=rate)
    with pytest.raises(
        InputError, match=r"raters/a.csv: no frame of recording a has labels of arousal and valence after"
    ):
        import_corpus("table", table_source.folder, tmp_path / "out", config)


def two_files(arousal_rows, valence_rows):
    """A recording whose targets are labelled in a file each, so many rows long."""
    gold = tuple(
        Traces(Path(f"{target}.csv"), np.arange(rows) / 25, {target: np.arange(rows) / 1000}, range(2, rows + 2))
        for target, rows in (("arousal", arousal_rows), ("valence", valence_rows))
    )
    return Source("a", "train", "S", Path("a.wav"), lambda: Labelled(gold))


@pytest.mark.parametrize(("rows", "kept"), [((50, 75), 50), ((75, 50), 50), ((60, 60), 60)])
def test_targets_in_files_of_their_own_end_together(rows, kept):
    gold = make_gold(two_files(*rows), ("valence", "arousal"), Framing(640), None)
    np.testing.assert_array_equal(gold.gold, np.tile(np.arange(kept)[:, None] / 1000, 2).astype(np.float32))


@pytest.mark.parametrize("rows", [(50, 76), (76, 50)])
def test_targets_that_are_labelled_over_other_times(rows):
    short, long = ("arousal", "valence") if rows[0] < rows[1] else ("valence", "arousal")
    message = (
        rf"^{short}.csv has 50 labels, but {long}.csv has 76: the targets of a recording must be labelled over the"
    )
    with pytest.raises(InputError, match=message):
        make_gold(two_files(*rows), ("arousal", "valence"), Framing(640), None)


def test_raters_who_say_nothing_are_left_out(table_source, tmp_path):
    times, values = table_source.traces()
    table_source.raters(
        "a", times, arousal_R1=values[:, 0] * np.nan, arousal_R2=values[:, 0], valence_R1=times * np.nan
    )
    corpus = open_corpus(import_corpus("table", table_source.folder, tmp_path / "out").path)
    ratings = corpus.ratings(corpus.recordings("train")[0])
    assert list(ratings) == ["arousal"]
    np.testing.assert_array_equal(ratings["arousal"], values[None, :50, 0].astype(np.float32))
    assert [row["rater"] for row in pq.read_table(tmp_path / "out" / "raters.parquet").to_pylist()] == ["R2"]
