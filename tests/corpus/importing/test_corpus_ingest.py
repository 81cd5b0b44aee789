import io
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from corpus_cases import TableSource, noise
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_ray.corpus import gold_standard, open_corpus
from ser_ray.corpus.importing.ingest import ImportConfig, import_corpus


def test_import_of_a_whole_source(table_source, tmp_path):
    made = import_corpus("table", table_source.folder, tmp_path / "out")
    assert made.warnings == ()
    corpus = open_corpus(made.path)
    assert (corpus.name, corpus.hop, corpus.targets) == ("source", 640, ("arousal", "valence"))
    assert [[r.name for r in corpus.recordings(p)] for p in ("train", "devel", "test")] == [["a", "b"], ["c"], ["d"]]
    assert [r.speaker for r in corpus.recordings("train")] == ["Sa", "Sb"]
    for number, name in enumerate("ab"):
        recording = corpus.recordings("train")[number]
        np.testing.assert_array_equal(corpus.audio(recording), noise(32000, number))
        _, values = table_source.traces(number)
        np.testing.assert_array_equal(corpus.gold(recording), values[:50].astype(np.float32))
        assert recording.name == name


@settings(deadline=None, max_examples=15)
@given(
    hop=st.sampled_from([160, 200, 320, 400, 640, 800, 1280, 1600, 4000]),
    samples=st.integers(20_000, 40_000),
    at_end=st.booleans(),
    surplus=st.integers(0, 2),
)
def test_frame_i_carries_row_i(hop, samples, at_end, surplus):
    rows = samples // hop + surplus
    times = (np.arange(rows) + at_end) * hop / 16000
    values = np.random.default_rng(hop).uniform(-1, 1, (rows, 2)).round(4)
    with tempfile.TemporaryDirectory() as folder:
        source = TableSource(Path(folder) / "s")
        source.write()
        for name in source.partitions:
            source.audio(name, noise(samples))
            source.labels(name, times, values)
        corpus = open_corpus(import_corpus("table", source.folder, Path(folder) / "out").path)
        assert corpus.hop == hop
        assert corpus.label_rate == 16000 / hop
        recording = corpus.recordings("test")[0]
        assert recording.frames == samples // hop
        assert recording.samples == samples // hop * hop
        np.testing.assert_array_equal(corpus.gold(recording), values[: samples // hop].astype(np.float32))
        np.testing.assert_array_equal(corpus.audio(recording), noise(samples)[: samples // hop * hop])


def test_a_recording_is_cut_to_labels_that_end_within_a_second(table_source, tmp_path):
    times, values = table_source.traces()
    table_source.labels("a", times[:30], values[:30])
    corpus = open_corpus(import_corpus("table", table_source.folder, tmp_path / "out").path)
    assert corpus.recordings("train")[0].frames == 30
    np.testing.assert_array_equal(corpus.audio(corpus.recordings("train")[0]), noise(32000)[: 30 * 640])


def test_7501_rows_are_7500_frames(table_source, tmp_path):
    times = np.arange(7501) / 25
    for name in table_source.partitions:
        table_source.audio(name, noise(4_800_000))
        table_source.labels(name, times, np.tile(np.arange(7501)[:, None] / 7501, 2))
    corpus = open_corpus(import_corpus("table", table_source.folder, tmp_path / "out").path)
    assert [r.frames for p in ("train", "devel", "test") for r in corpus.recordings(p)] == [7500] * 4


def test_rounded_stamps_are_understood(table_source, tmp_path):
    for name in table_source.partitions:  # 0.125 s is written as 0.12
        times, values = np.arange(17) / 8, table_source.traces()[1][:17]
        rows = [f"{t:.2f};{a};{v}" for t, (a, v) in zip(times, values, strict=True)]
        table_source.label_text(name, "\n".join(["Time; Arousal ;valence", *rows]))
    corpus = open_corpus(import_corpus("table", table_source.folder, tmp_path / "out").path)
    assert corpus.hop == 2000
    np.testing.assert_array_equal(corpus.gold(corpus.recordings("train")[0]), values[:16].astype(np.float32))


def test_fields_divided_by_tabs(table_source, tmp_path):
    times, values = table_source.traces()
    rows = [f"{t:.2f}\t{a}\t{v}" for t, (a, v) in zip(times, values, strict=True)]
    table_source.label_text("a", "\n".join(["time\tarousal\tvalence", *rows]))
    corpus = open_corpus(import_corpus("table", table_source.folder, tmp_path / "out").path)
    expected = table_source.traces(0)[1][:50].astype(np.float32)
    np.testing.assert_array_equal(corpus.gold(corpus.recordings("train")[0]), expected)


@pytest.mark.parametrize("method", [None, "ewe", "mean", "ccc_centred"])
def test_gold_is_made_from_raters(table_source, tmp_path, method):
    rng = np.random.default_rng(1)
    times, given_gold = table_source.traces()
    raters = {f"{t}_R{i}": rng.uniform(-1, 1, 51).round(3) for t in ("arousal", "valence") for i in range(3)}
    for name in table_source.partitions:
        table_source.raters(name, times, **raters)
    (table_source.folder / "labels" / "b.csv").unlink()
    corpus = open_corpus(import_corpus("table", table_source.folder, tmp_path / "out", ImportConfig(gold=method)).path)
    labelled, unlabelled = corpus.recordings("train")
    for column, target in enumerate(("arousal", "valence")):
        rows = np.stack([trace for name, trace in raters.items() if name.startswith(target)])
        made = gold_standard(rows, method or "ewe").astype(np.float32)[:50]
        np.testing.assert_array_equal(corpus.gold(unlabelled)[:, column], made)
        kept = given_gold[:50, column].astype(np.float32) if method is None else made
        np.testing.assert_array_equal(corpus.gold(labelled)[:, column], kept)
        np.testing.assert_array_equal(corpus.ratings(labelled)[target], rows.astype(np.float32)[:, :50])


def test_a_test_set_without_labels_is_legal(table_source, tmp_path):
    (table_source.folder / "labels" / "d.csv").unlink()
    corpus = open_corpus(import_corpus("table", table_source.folder, tmp_path / "out").path)
    recording = corpus.recordings("test")[0]
    assert not recording.labelled
    assert recording.frames == 50
    assert np.isnan(corpus.gold(recording)).all()


def test_further_targets_and_columns(table_source, tmp_path):
    times, values = table_source.traces()
    for name in table_source.partitions:
        rows = [f"x,{t},{a},{v},0.5" for t, (a, v) in zip(times, values, strict=True)]
        table_source.label_text(name, "\n".join(["name,time,arousal,valence,liking", *rows]))
    rows = [f"{n},{p},f,7" for n, p in zip("abcd", ("Training", "train", "DEV", "test"), strict=True)]
    table_source.table(rows, "Name,Partition,sex,frames")
    (table_source.folder / "NOTICE").write_text("for research only")
    made = import_corpus(
        "table", table_source.folder, tmp_path / "out", ImportConfig(targets=("liking", "arousal")), name="n"
    )
    corpus = open_corpus(made.path)
    assert (corpus.name, corpus.targets, corpus.manifest.notice) == ("n", ("liking", "arousal"), "for research only")
    recording = corpus.recordings("devel")[0]
    assert (recording.speaker, recording.extra) == ("c", {"sex": "f", "table_frames": "7"})
    np.testing.assert_array_equal(
        corpus.gold(recording), np.column_stack([np.full(50, 0.5), values[:50, 0]]).astype(np.float32)
    )


def test_torch_is_not_needed_without_resampling(table_source, tmp_path):
    code = (
        "import sys; from ser_ray.corpus.importing.ingest import import_corpus;"
        f"import_corpus('table', {str(table_source.folder)!r}, {str(tmp_path / 'out')!r});"
        "sys.exit('torch' in sys.modules or 'torchaudio' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_progress_is_silent_where_nobody_looks(table_source, tmp_path, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    import_corpus("table", table_source.folder, tmp_path / "out")
    assert stream.getvalue() == ""
