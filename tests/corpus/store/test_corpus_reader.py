import dataclasses
import json
import pickle
import re
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from corpus_cases import noise
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_ray.corpus import CorpusWriter, open_corpus
from ser_ray.corpus.store.schema import samples_per_frame
from ser_ray.corpus.store.writer import moments
from ser_ray.errors import InputError


@settings(deadline=None, max_examples=20)
@given(
    hop=st.sampled_from([160, 320, 640, 1600]),
    lengths=st.lists(st.integers(1600, 9000), min_size=1, max_size=4),
    shard_bytes=st.sampled_from([1, 30_000, 2**30]),
    seed=st.integers(0, 99),
)
def test_round_trip_is_exact(hop, lengths, shard_bytes, seed):
    rng = np.random.default_rng(seed)
    audio = [rng.integers(-32768, 32768, n).astype(np.int16) for n in lengths]
    gold = [rng.normal(size=(n // hop, 2)).astype(np.float32) for n in lengths]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "c"
        writer = CorpusWriter(
            out, name="c", label_rate=16000 / hop, targets=("arousal", "liking"), shard_bytes=shard_bytes
        )
        with writer:
            for number, (samples, trace) in enumerate(zip(audio, gold, strict=True)):
                writer.add(f"r{number}", "train", "s", samples, trace, ratings={"liking": {"A": trace[:, 1]}})
        corpus = open_corpus(out)
        assert corpus.hop == hop
        assert corpus.targets == ("arousal", "liking")
        assert len(corpus.manifest.shards) == (len(lengths) if shard_bytes == 1 else len(corpus.manifest.shards))
        for recording, samples, trace in zip(corpus.recordings("train"), audio, gold, strict=True):
            whole = samples[: samples.size // hop * hop]
            assert recording.samples == whole.size == recording.frames * hop
            np.testing.assert_array_equal(corpus.audio(recording), whole)
            np.testing.assert_array_equal(corpus.gold(recording), trace)
            np.testing.assert_array_equal(corpus.ratings(recording)["liking"], trace[None, :, 1])
            assert recording.mean == pytest.approx(whole.astype(np.float64).mean(), abs=1e-9)
            assert recording.std == pytest.approx(whole.astype(np.float64).std(), rel=1e-12)


def test_moments_add_up_over_blocks():
    audio = noise(2**22 + 77)
    mean, std = moments(audio)
    assert mean == pytest.approx(audio.astype(np.float64).mean(), rel=1e-12)
    assert std == pytest.approx(audio.astype(np.float64).std(), rel=1e-12)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    out = tmp_path_factory.mktemp("shared") / "c"
    with CorpusWriter(out, name="c", label_rate=25, targets=("arousal", "valence")) as writer:
        gold = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
        writer.add("x", "devel", "s", noise(32100) // 3 + 1000, gold)
    return open_corpus(out)


@settings(deadline=None, max_examples=25)
@given(start=st.integers(0, 49), n=st.integers(1, 50))
def test_crop_is_a_slice_of_the_whole(corpus, start, n):
    recording = corpus.recordings("devel")[0]
    n = min(n, 50 - start)
    waveform, gold = corpus.crop(recording, start, n)
    whole = corpus.audio(recording).astype(np.float64)
    normal = (whole - whole.mean()) / whole.std()
    assert waveform.dtype == gold.dtype == np.float32
    np.testing.assert_allclose(waveform, normal[start * 640 : (start + n) * 640], atol=2e-6)
    np.testing.assert_array_equal(gold, corpus.gold(recording)[start : start + n])


def test_samples_are_a_slice_of_the_whole_wherever_they_begin(corpus):
    recording = corpus.recordings("devel")[0]
    whole, _ = corpus.crop(recording, 0, 50)
    for start, stop in ((0, 32000), (0, 1), (639, 641), (12345, 31999), (31999, 32000)):
        waveform = corpus.waveform(recording, start, stop)
        assert waveform.dtype == np.float32
        assert waveform.flags.writeable
        np.testing.assert_array_equal(waveform, whole[start:stop])


@pytest.mark.parametrize(("start", "n"), [(-1, 2), (49, 2), (0, 51), (0, 0), (50, 1)])
def test_crop_outside_is_refused(small_corpus, start, n):
    corpus = open_corpus(small_corpus)
    with pytest.raises(InputError, match=r"outside recording train_1, which has 50 frames"):
        corpus.crop(corpus.recordings("train")[0], start, n)


def test_crop_is_a_copy_and_the_rest_is_mapped(small_corpus):
    corpus = open_corpus(small_corpus)
    recording = corpus.recordings("train")[0]
    before = pa.total_allocated_bytes()
    view = corpus.audio(recording)
    assert pa.total_allocated_bytes() <= before  # nothing of the audio was loaded
    assert not view.flags.writeable
    assert not view.flags.owndata
    waveform, gold = corpus.crop(recording, 0, 10)
    waveform[:] = 0
    gold[:] = 0
    assert np.abs(corpus.crop(recording, 0, 10)[0]).max() > 0
    assert np.abs(corpus.crop(recording, 0, 10)[1]).max() > 0


def test_a_recording_without_labels_has_nan(small_corpus):
    corpus = open_corpus(small_corpus)
    recording = corpus.recordings("test")[0]
    assert not recording.labelled
    assert np.isnan(corpus.crop(recording, 3, 4)[1]).all()
    assert corpus.ratings(recording) == {}
    assert corpus.ratings(corpus.recordings("train")[0])["arousal"].shape == (2, 50)


def test_index_keeps_order_and_extra_columns(small_corpus):
    corpus = open_corpus(str(small_corpus))
    assert [r.extra for p in ("train", "devel", "test") for r in corpus.recordings(p)] == [{"sex": "f"}] * 3
    assert corpus.path == small_corpus
    assert (corpus.name, corpus.sample_rate, corpus.label_rate) == ("small", 16000, 25.0)
    assert len({*corpus.recordings("train"), *corpus.recordings("devel")}) == 2  # recordings may be hashed
    with pytest.raises(InputError, match="partition is 'dev', but must be one of train, devel, test"):
        corpus.recordings("dev")


def test_a_pickled_corpus_maps_again(small_corpus):
    corpus = open_corpus(small_corpus)
    recording = corpus.recordings("train")[0]
    waveform, _ = corpus.crop(recording, 5, 6)
    text = pickle.dumps(corpus)
    assert len(text) < 5000  # no audio travels with it
    np.testing.assert_array_equal(pickle.loads(text).crop(recording, 5, 6)[0], waveform)


def test_fingerprint_follows_the_content_alone(small_corpus, tmp_path):
    def written(name, *, value=0.5, label_rate=25.0, targets=("arousal",), sample=7, speaker="s", notice=""):
        with CorpusWriter(tmp_path / name, name=name, label_rate=label_rate, targets=targets, notice=notice) as writer:
            audio = np.full(6400, sample, np.int16)
            audio[0] = 9
            gold = np.full((4, len(targets)), value, np.float32)
            writer.add("x", "train", speaker, audio, gold)
        return open_corpus(tmp_path / name).fingerprint

    first = written("one")
    assert written("two", notice="licence") == first
    (tmp_path / "one").rename(tmp_path / "elsewhere")
    assert open_corpus(tmp_path / "elsewhere").fingerprint == first
    others = [
        written("value", value=0.25),
        written("rate", label_rate=10.0),
        written("targets", targets=("valence",)),
        written("sample", sample=8),
        written("speaker", speaker="t"),
    ]
    assert len({first, *others}) == 6


def test_writing_is_whole_or_nothing(tmp_path):
    def broken():
        with CorpusWriter(tmp_path / "c", name="c", label_rate=25, targets=("arousal",)) as writer:
            writer.add("x", "train", "s", noise(6400), None)
            assert len(list(tmp_path.iterdir())) == 1
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        broken()
    assert list(tmp_path.iterdir()) == []


def test_writing_over_something_is_refused(small_corpus, tmp_path):
    with pytest.raises(InputError, match="small exists and is not empty: a corpus overwrites nothing"):
        CorpusWriter(small_corpus, name="c", label_rate=25, targets=())
    (tmp_path / "empty").mkdir()
    with CorpusWriter(tmp_path / "empty", name="c", label_rate=25, targets=("arousal",)) as writer:
        writer.add("x", "train", "s", noise(6400), None)
    assert open_corpus(tmp_path / "empty").recordings("train")[0].frames == 10


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.full(6400, 3, np.int16), "recording x is silent: all its samples are 3"),
        (noise(639), "recording x has 639 samples: less than one frame of 640"),
        (noise(0), "recording x has 0 samples"),
    ],
)
def test_audio_that_cannot_be_used_is_refused(tmp_path, audio, message):
    with (
        pytest.raises(InputError, match=message),
        CorpusWriter(tmp_path / "c", name="c", label_rate=25, targets=()) as writer,
    ):
        writer.add("x", "train", "s", audio, None)


def test_label_rate_must_fit(tmp_path):
    with pytest.raises(
        InputError, match=r"30 Hz, .* nearest valid rates: 30.0188 Hz \(533 samples\) or 29.9625 Hz \(534"
    ):
        CorpusWriter(tmp_path / "c", name="c", label_rate=30, targets=())
    with pytest.raises(InputError, match=r"label rate is 0 Hz.*must be at least 1e-6"):
        CorpusWriter(tmp_path / "c", name="c", label_rate=0, targets=())


def test_missing_corpus(tmp_path):
    with pytest.raises(
        InputError, match=r"(?s)nowhere does not exist, so it is not a corpus.*ser-ray corpus import table SRC .*"
    ):
        open_corpus(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"is not a corpus \(a folder with corpus.json\)(?s:.*)corpus synthetic"):
        open_corpus(tmp_path)


def test_half_written_corpus(small_corpus):
    (small_corpus / "corpus.json").unlink()
    with pytest.raises(InputError, match=r"small is an incomplete corpus: .* no corpus.json"):
        open_corpus(small_corpus)


def test_missing_index_and_shard(small_corpus):
    (small_corpus / "shards" / "00000.arrow").unlink()
    with pytest.raises(InputError, match=r"shards/00000.arrow is missing"):
        open_corpus(small_corpus)
    (small_corpus / "index.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match=r"index.parquet was altered: its SHA-256 is \w+, but corpus.json says"):
        open_corpus(small_corpus)
    (small_corpus / "index.parquet").unlink()
    with pytest.raises(InputError, match=r"lacks index.parquet: the corpus is incomplete"):
        open_corpus(small_corpus)


def test_shard_cut_short(small_corpus):
    shard = small_corpus / "shards" / "00000.arrow"
    unopened = open_corpus(small_corpus)
    shard.write_bytes(shard.read_bytes()[:-64])
    with pytest.raises(InputError, match=r"00000.arrow has \d+ bytes, but corpus.json says \d+: it is truncated"):
        open_corpus(small_corpus)
    with pytest.raises(InputError, match="is truncated"):
        unopened.crop(unopened.recordings("train")[0], 0, 1)


def _change(corpus, **values):
    manifest = corpus / "corpus.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **values}))


@pytest.mark.parametrize("version", [2, 3])
def test_a_manifest_of_another_schema_version_is_refused(small_corpus, version):
    _change(small_corpus, schema_version=version, unheard_of=1)
    wrong = f"{small_corpus}/corpus.json has schema_version {version}, but this ser_ray reads 1: import the corpus"
    with pytest.raises(InputError, match=wrong):
        open_corpus(small_corpus)


@pytest.mark.parametrize("key", ["index_sha256", "fingerprint"])
def test_a_manifest_that_lacks_a_key_is_refused(small_corpus, key):
    manifest = json.loads((small_corpus / "corpus.json").read_text())
    del manifest[key]
    (small_corpus / "corpus.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=rf"is not a corpus manifest \(.*{key}.*\): import the corpus again"):
        open_corpus(small_corpus)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"schema_version": 1}', '{"schema_version": 1, "shards": [3]}'])
def test_manifest_that_is_none(small_corpus, text):
    (small_corpus / "corpus.json").write_text(text)
    with pytest.raises(InputError, match=r"corpus.json is not a corpus manifest .*import the corpus again"):
        open_corpus(small_corpus)


def test_manifest_that_was_altered(small_corpus):
    _change(small_corpus, name="other", notice="other")
    assert open_corpus(small_corpus).name == "other"
    _change(small_corpus, targets=["valence", "arousal"])
    with pytest.raises(InputError, match="do not match"):
        open_corpus(small_corpus)


@pytest.mark.parametrize("rate", [29.97, 30.0, 24.9, 12.3, 59.94, 7.7, 101.3])
def test_rates_that_are_offered_are_accepted(rate):
    with pytest.raises(InputError) as caught:
        samples_per_frame(rate)
    offered = re.findall(r"([\d.]+) Hz \((\d+) samples\)", str(caught.value))
    assert len(offered) == 2
    for typed, hop in offered:
        assert samples_per_frame(float(typed)) == int(hop)


def test_rates_that_networks_are_easily_built_for_are_offered():
    with pytest.raises(InputError, match="recommended rates, which allow many pool sizes: 32, 25, 40 Hz"):
        samples_per_frame(29.97)


def test_the_first_seconds_of_a_recording_can_be_used_alone(small_corpus):
    """As a trial with training.limit_s does: the shard holds more than such a recording says."""
    corpus = open_corpus(small_corpus)
    (whole, *_) = corpus.recordings("train")
    cut = dataclasses.replace(whole, frames=2, samples=2 * corpus.hop)
    waveform, gold = corpus.crop(cut, 0, 2)
    expected, labels = open_corpus(small_corpus).crop(whole, 0, 2)
    np.testing.assert_array_equal(waveform, expected)
    np.testing.assert_array_equal(gold, labels)
