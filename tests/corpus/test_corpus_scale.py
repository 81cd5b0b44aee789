"""What must not grow with a corpus: open files, maps, arrays kept; and the fingerprint, which must never change."""

import dataclasses
import hashlib
import importlib.util
import itertools
import json
import mmap
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_ray.corpus import CorpusWriter, open_corpus
from ser_ray.corpus.store import reader as shards
from ser_ray.corpus.store.schema import Recording, Shard, fingerprint, index_fingerprint, index_recordings, index_table
from ser_ray.corpus.store.shards import ShardMap
from ser_ray.corpus.synthetic.generate import built_in
from ser_ray.errors import InputError
from ser_ray.plain_text import escaped_name

texts = st.text(st.characters(codec="utf-8"), max_size=12)
numbers = st.floats(allow_nan=False)
recordings = st.builds(
    Recording,
    name=texts,
    partition=st.sampled_from(["train", "devel", "test"]),
    speaker=texts,
    samples=st.integers(0, 2**62),
    frames=st.integers(0, 2**62),
    mean=numbers,
    std=numbers,
    labelled=st.booleans(),
    shard=texts,
    batch=st.integers(0, 2**31 - 1),
    extra=st.dictionaries(
        st.sampled_from(["sex", 'a "name"', "ä\n", "null", "Zeit", "age%s"]), texts | st.just("null")
    ),
)


def of_definition(shards, recordings, targets, label_rate, sample_rate=16000):
    """The fingerprint as it was first written down."""
    content = {
        "shards": [dataclasses.asdict(shard) for shard in shards],
        "index": [dataclasses.asdict(recording) for recording in recordings],
        "targets": list(targets),
        "label_rate": float(label_rate),
        "sample_rate": sample_rate,
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@settings(deadline=None, max_examples=150)
@given(st.lists(recordings, max_size=5), st.lists(texts, max_size=3))
def test_the_fingerprint_is_that_of_the_rows_as_json(rows, targets):
    files = [Shard(f"{n}.arrow", "ab" * 32, n) for n in range(3)]
    expected = of_definition(files, rows, targets, 25)
    assert fingerprint(files, rows, targets=targets, label_rate=25) == expected
    table = index_table(rows)
    assert index_fingerprint(files, table, targets=targets, label_rate=25, sample_rate=16000) == expected
    chunked = pa.concat_tables([table.slice(0, 2), table.slice(2)])
    assert index_fingerprint(files, chunked, targets=targets, label_rate=25, sample_rate=16000) == expected


@settings(deadline=None, max_examples=100)
@given(st.lists(recordings, max_size=5))
def test_recordings_come_back_from_the_index(rows):
    """All as it was, but for texts that would act where they are shown."""

    def shown(value):
        return escaped_name(value) if isinstance(value, str) else value

    expected = [
        Recording(
            **{
                name: {key: shown(text) for key, text in value.items()} if name == "extra" else shown(value)
                for name, value in vars(row).items()
            }
        )
        for row in rows
    ]
    assert index_recordings(index_table(rows)) == tuple(expected)


def test_the_fingerprint_of_a_corpus_that_exists_does_not_change(tmp_path):
    # keys of trials that people have trained hang on it
    assert open_corpus(built_in("synthetic-demo", tmp_path)).fingerprint == "239938ae6ca7874c"
    assert open_corpus(built_in("synthetic-small", tmp_path)).fingerprint == "90a3bc6a2cc61bf6"


def test_the_fingerprint_of_given_rows_does_not_change():
    rows = [Recording("ä\n", "train", "s", 6400, 10, -1.5e-7, 1e22, True, "0.arrow", 0, {"sex": "f", "b": '"'})]
    assert fingerprint([Shard("0.arrow", "00", 9)], rows, targets=("a",), label_rate=25) == "8482512b68ad62b4"


def test_an_index_without_a_column_is_refused(tmp_path):
    out = write(tmp_path / "c", 1)
    table = pq.read_table(out / "index.parquet")
    pq.write_table(table.drop_columns(["std", "batch"]), out / "index.parquet")
    manifest = json.loads((out / "corpus.json").read_text())
    index_sha256 = hashlib.sha256((out / "index.parquet").read_bytes()).hexdigest()
    (out / "corpus.json").write_text(json.dumps({**manifest, "index_sha256": index_sha256}))
    with pytest.raises(InputError, match=r"index.parquet lacks the columns batch, std: import the corpus again"):
        open_corpus(out)


def write(out, count):
    """A corpus with a shard per recording."""
    with CorpusWriter(out, name="c", label_rate=25, targets=("arousal",), shard_bytes=1) as writer:
        for number in range(count):
            gold = np.full((3, 1), number / count, np.float32)
            ratings = {"arousal": {"A": gold[:, 0], "B": -gold[:, 0]}}
            writer.add(f"r{number}", "train", f"S{number}", audio_of(number), gold, ratings=ratings)
    return out


def audio_of(number):
    return np.random.default_rng(number).integers(-9000, 9000, 1920).astype(np.int16)


def maps_of(folder):
    text = Path("/proc/self/maps").read_text()
    return sum(str(folder) in line for line in text.splitlines())


@pytest.mark.parametrize(("mapped", "viewed"), [(1, 1), (3, 5), (64, 128)])
def test_what_is_kept_is_bounded_and_what_is_read_is_right(tmp_path, monkeypatch, mapped, viewed):
    monkeypatch.setattr(shards, "MOST_MAPPED", mapped)
    monkeypatch.setattr(shards, "MOST_VIEWED", viewed)
    corpus = open_corpus(write(tmp_path / "c", 40))
    everyone = corpus.recordings("train")
    held = corpus.audio(everyone[7])  # outlives the place of its shard among those kept
    before = len(os.listdir("/proc/self/fd"))
    for number in np.random.default_rng(0).integers(40, size=400):
        waveform, gold = corpus.crop(everyone[number], 1, 2)
        audio = audio_of(number)
        np.testing.assert_allclose(waveform, ((audio - audio.mean()) / audio.std())[640:], atol=1e-5)
        assert gold.tolist() == [[np.float32(number / 40)]] * 2
        np.testing.assert_array_equal(corpus.audio(everyone[number]), audio)
        assert corpus.ratings(everyone[number])["arousal"][1, 0] == np.float32(-number / 40)
        # a place keeps its map open; one more is that which is held
        assert maps_of(tmp_path) <= mapped + viewed + 1
        assert len(os.listdir("/proc/self/fd")) - before < mapped + viewed
    np.testing.assert_array_equal(held, audio_of(7))


def test_what_is_asked_for_again_is_kept(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(shards, "ShardMap", lambda path, targets: opened.append(path) or ShardMap(path, targets))
    monkeypatch.setattr(shards, "MOST_MAPPED", 2)
    monkeypatch.setattr(shards, "MOST_VIEWED", 1)
    corpus = open_corpus(write(tmp_path / "c", 3))
    everyone = dict(zip("abc", corpus.recordings("train"), strict=True))
    for key in "abacabb":
        corpus.audio(everyone[key])
    assert [path.name for path in opened] == [everyone[key].shard for key in "abcb"]


def test_recordings_are_made_once_and_travel_as_their_index(tmp_path):
    corpus = open_corpus(write(tmp_path / "c", 40))
    assert corpus.recordings("train") is corpus.recordings("train")
    assert corpus.recordings("devel") == ()
    corpus.crop(corpus.recordings("train")[3], 0, 1)
    size = len(pickle.dumps(corpus))
    assert size == len(pickle.dumps(open_corpus(corpus.path)))
    again = pickle.loads(pickle.dumps(corpus))
    assert again.recordings("train") == corpus.recordings("train")
    np.testing.assert_array_equal(again.audio(again.recordings("train")[3]), audio_of(3))


def test_a_corpus_elsewhere_is_the_same_corpus_or_refused(tmp_path):
    corpus = open_corpus(write(tmp_path / "c", 2))
    (tmp_path / "c").rename(tmp_path / "moved")
    there = corpus.at(tmp_path / "moved")
    assert (there.path, there.fingerprint) == (tmp_path / "moved", corpus.fingerprint)
    np.testing.assert_array_equal(there.audio(corpus.recordings("train")[1]), audio_of(1))
    write(tmp_path / "other", 1)
    with pytest.raises(InputError, match=rf"other contains another corpus \(fingerprint .*{corpus.fingerprint}\)"):
        corpus.at(tmp_path / "other")


def test_each_stretch_is_announced_to_the_map_that_it_lies_in(tmp_path, monkeypatch):
    announced = []

    def announce(shard, array):
        announced.append((shard, array))
        assert shard._begin <= array.__array_interface__["data"][0] < shard._end

    monkeypatch.setattr(ShardMap, "announce", announce)
    monkeypatch.setattr(shards, "MOST_MAPPED", 1)
    corpus = open_corpus(write(tmp_path / "c", 3))
    one, two, three = corpus.recordings("train")
    for recording in (one, two, one, three, two):  # whose place is kept longer than the map of their shard
        announced.clear()
        corpus.crop(recording, 1, 2)
        assert [array.size for _, array in announced] == [1280, 2]
        announced.clear()
        corpus.audio(recording)
        corpus.gold(recording)
        corpus.ratings(recording)
        assert [array.size for _, array in announced] == [1920, 3, 3, 3]


def test_a_map_reads_nothing_beside_what_is_asked_for(tmp_path):
    out = write(tmp_path / "c", 1)
    shard = ShardMap(out / "shards" / "00000.arrow", open_corpus(out).targets)
    mapped = Path("/proc/self/smaps").read_text().split(str(out))[1]
    assert " rr" in mapped[mapped.index("VmFlags:") :].splitlines()[0]  # read at random
    audio = shard.batch(0).column("audio")[0].values.to_numpy(zero_copy_only=True)
    for start, stop in ((0, 1920), (0, 0), (5, 6), (1919, 1920), (700, 1300)):
        shard.announce(audio[start:stop])
    shard.announce(np.zeros(10))  # lies elsewhere
    np.testing.assert_array_equal(audio, audio_of(0))


@settings(deadline=None, max_examples=60)
@given(start=st.integers(0, 400_000), length=st.integers(0, 400_000))
def test_a_stretch_is_announced_whole_in_pieces_that_are_read_whole(long_shard, start, length):
    shard, audio = long_shard
    stretch = audio[start : start + length]
    shard._map.pieces.clear()
    shard.announce(stretch)
    pieces = shard._map.pieces
    assert all(begin % mmap.PAGESIZE == 0 and 0 < size <= 2**17 for begin, size in pieces)
    if not stretch.size:
        assert pieces == []
        return
    first = stretch.__array_interface__["data"][0] - shard._begin
    assert first - mmap.PAGESIZE < pieces[0][0] <= first
    assert sum(pieces[-1]) == first + stretch.nbytes
    assert all(sum(one) == other[0] for one, other in itertools.pairwise(pieces))


@pytest.fixture(scope="module")
def long_shard(tmp_path_factory):
    """A map that notes what is announced, and the array in it."""
    out = tmp_path_factory.mktemp("long") / "c"
    with CorpusWriter(out, name="c", label_rate=25, targets=()) as writer:
        writer.add("r", "train", "s", np.random.default_rng(0).integers(-9, 9, 480_000).astype(np.int16), None)
    shard = ShardMap(out / "shards" / "00000.arrow", open_corpus(out).targets)

    class Noting:
        def __init__(self, kept):
            self.kept, self.pieces = kept, []

        def madvise(self, advice, start, length):
            assert advice == mmap.MADV_WILLNEED
            self.pieces.append((start, length))

    shard._map = Noting(shard._map)
    return shard, shard.batch(0).column("audio")[0].values.to_numpy(zero_copy_only=True)


@pytest.fixture(scope="module")
def bench():
    path = Path(__file__).parents[2] / "benchmarks" / "bench_corpus.py"
    spec = importlib.util.spec_from_file_location("bench_corpus", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_hundred_hours_of_holes_open_and_give_crops(bench, tmp_path):
    if not bench.makes_holes(tmp_path):
        pytest.skip("this file system keeps no holes in files")
    out = tmp_path / "sparse"
    bench.write_sparse(out, 30)
    corpus = open_corpus(out)
    everyone = [r for p in ("train", "devel", "test") for r in corpus.recordings(p)]
    assert len(everyone) == 30 * 46
    assert sum(r.samples for r in everyone) == 30 * 46 * 300 * 16000
    assert len(corpus.manifest.shards) == len(list((out / "shards").iterdir())) > 10
    apparent = sum(path.stat().st_size for path in out.rglob("*"))
    assert apparent > 30 * 46 * 300 * 16000 * 2
    assert sum(512 * path.stat().st_blocks for path in out.rglob("*")) < apparent / 100
    for recording in (everyone[0], everyone[777], everyone[-1]):
        waveform, gold = corpus.crop(recording, 7000, 500)
        assert waveform.shape == (320_000,)
        assert not gold.any()
        assert corpus.ratings(recording)["valence"].shape == (6, 7500)


def test_the_benchmark_prints_each_size_beside_the_smallest(bench):
    one = bench.Costs(46, 10**9, 5000, 0.001, 0.002, (0.0002, 0.001), (0.0001, 0.0005), 10**6)
    ten = dataclasses.replace(one, recordings=460, open_s=0.0031)
    head, first, second = bench.table({1: one, 10: ten})
    assert first.split()[:2] == ["1x", "46"]
    assert "1.00 ms   1.0x" in first
    assert "3.10 ms   3.1x" in second
    assert len(head) == len(first) == len(second)
