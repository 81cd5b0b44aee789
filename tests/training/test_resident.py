import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_ray.corpus import CorpusWriter, open_corpus
from ser_ray.training.config import TrainingConfig
from ser_ray.training.resident import ResidentBatches, free_bytes, resident_bytes, stays_resident
from ser_ray.training.segments import MappedBatches, Segment, cut_segments, draw_segments, recordings_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def uneven_corpus(tmp_path_factory):
    """Recordings of other levels and lengths, samples at the ends of int16, part frames, labels missing."""
    out, hop = tmp_path_factory.mktemp("corpora") / "uneven", 64
    rng = np.random.default_rng(0)
    with CorpusWriter(out, name="uneven", label_rate=16000 / hop, targets=("arousal", "valence")) as writer:
        for number, frames in enumerate((70, 1, 33, 20)):
            audio = rng.integers(-32768, 32767, frames * hop + 17 * number, endpoint=True).astype(np.int16)
            audio //= 1 + 40 * number
            gold = rng.normal(size=(frames, 2)).astype(np.float32)
            writer.add(f"r{number}", "train", f"S{number}", audio, gold if number != 2 else None)
    return open_corpus(out)


def bits(tensor):
    return tensor.view(torch.int32) if tensor.dtype == torch.float32 else tensor


def assert_same_bits(one, other):
    for name in ("waveform", "gold", "mask"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a.shape, a.dtype, a.device) == (b.shape, b.dtype, b.device), name
        # a NaN has several patterns of bits, which stand for the same: no label
        assert torch.equal(bits(a.nan_to_num(nan=7e30)), bits(b.nan_to_num(nan=7e30))), name
        assert torch.equal(a.isnan(), b.isnan()), name


def both(corpus, recordings, frames, shift, columns, device=CPU):
    """Both makers of batches; the shift of the second target is 2 frames longer."""
    shape = frames, [shift + 2 * column for column in columns], columns
    return MappedBatches(corpus, *shape, device), ResidentBatches(corpus, recordings, *shape, device)


@given(
    st.integers(1, 90), st.integers(0, 100), st.sampled_from([[0, 1], [1, 0], [1]]), st.booleans(), st.integers(0, 99)
)
@settings(deadline=None, max_examples=60)
def test_batches_are_those_of_the_memory_map_to_the_bit(uneven_corpus, sequence_frames, shift, columns, random, seed):
    recordings = uneven_corpus.recordings("train")
    segments = cut_segments(recordings, sequence_frames)
    if random:
        segments = draw_segments(segments, sequence_frames, seed, 1)
    segments = [segments[i] for i in np.random.default_rng(seed).permutation(len(segments))]
    mapped, resident = both(uneven_corpus, recordings, sequence_frames, shift, columns)
    assert_same_bits(mapped.batch(segments), resident.batch(segments))


@pytest.mark.parametrize("sequence_frames", [7, 20, 80])
def test_cut_recordings_end_where_they_are_cut(uneven_corpus, sequence_frames):
    recordings = recordings_of(uneven_corpus, "train", TrainingConfig(limit_recordings=3, limit_s=0.1))
    assert [r.frames for r in recordings] == [25, 1, 25]
    segments = cut_segments(recordings, sequence_frames)
    mapped, resident = both(uneven_corpus, recordings, sequence_frames, 3, [0, 1])
    assert_same_bits(mapped.batch(segments), resident.batch(segments))


@pytest.mark.parametrize("shift", [0, 3])
def test_a_segment_that_ends_within_its_recording_is_masked_from_there(uneven_corpus, shift):
    recordings = uneven_corpus.recordings("train")
    segments = [Segment(recordings[0], 5, 4), Segment(recordings[3], 0, 10), Segment(recordings[0], 60, 10)]
    mapped, resident = both(uneven_corpus, recordings, 10, shift, [0, 1])
    assert_same_bits(mapped.batch(segments), resident.batch(segments))


def test_batches_do_not_share_memory(uneven_corpus):
    recordings = uneven_corpus.recordings("train")
    segments = cut_segments(recordings, 20)
    mapped, resident = both(uneven_corpus, recordings, 20, 0, [0, 1])
    first = resident.batch(segments)
    first.waveform.zero_()
    first.gold.zero_()
    assert_same_bits(mapped.batch(segments), resident.batch(segments))


def test_the_size_is_that_of_what_is_kept(uneven_corpus):
    recordings = uneven_corpus.recordings("train")
    _, resident = both(uneven_corpus, recordings, 20, 0, [0])
    frames = sum(recording.frames for recording in recordings)
    kept = [value for value in vars(resident).values() if isinstance(value, torch.Tensor) and len(value) == frames]
    assert len(kept) == 2  # audio and gold
    assert resident_bytes(recordings, uneven_corpus.hop, 1) == sum(t.numel() * t.element_size() for t in kept)


@pytest.mark.parametrize(
    ("size", "free", "stays"),
    [(1, 0, False), (10**9, 10**10, True), (10**9 + 1, 10**10, False), (5 * 10**9, 80 * 10**9, True)],
)
def test_a_partition_stays_where_it_takes_at_most_a_tenth_of_free_memory(size, free, stays):
    assert stays_resident(size, free) == stays


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_makes_the_batches_of_the_memory_map_to_the_bit(uneven_corpus):
    recordings = uneven_corpus.recordings("train")
    segments = cut_segments(recordings, 20)
    mapped, resident = both(uneven_corpus, recordings, 20, 4, [0, 1], device=torch.device("cuda:0"))
    assert_same_bits(mapped.batch(segments), resident.batch(segments))


@pytest.mark.parametrize(
    ("free", "share", "reserved", "expected"),
    [
        (70, 1.0, 0, 70),
        (70, 0.25, 0, 20),  # the neighbours have not taken their shares yet
        (10, 0.25, 0, 10),
        (70, 0.25, 15, 5),
        (70, 0.25, 21, 0),
    ],
)
def test_a_trial_that_shares_a_gpu_counts_on_its_share_of_the_memory(monkeypatch, free, share, reserved, expected):
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (free, 80))
    monkeypatch.setattr("torch.cuda.get_per_process_memory_fraction", lambda device: share)
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda device: reserved)
    assert free_bytes(torch.device("cuda:0")) == expected
    assert free_bytes(CPU) == 0
