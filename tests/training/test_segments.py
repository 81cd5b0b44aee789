import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_ray.training.config import TrainingConfig
from ser_ray.training.segments import (
    MappedBatches,
    cut_segments,
    draw_segments,
    recordings_of,
    segments_of_epoch,
    shuffled_batches,
)


def pieces(corpus, sequence_frames, shift_frames=(0, 0)):
    segments = cut_segments(corpus.recordings("train"), sequence_frames)
    return segments, MappedBatches(corpus, sequence_frames, shift_frames, [0, 1], torch.device("cpu")).batch(segments)


@given(st.integers(1, 80))
@settings(deadline=None, max_examples=20)
def test_segments_cover_each_recording_once_and_never_cross(tiny_corpus, sequence_frames):
    segments = cut_segments(tiny_corpus.recordings("train"), sequence_frames)
    for recording in tiny_corpus.recordings("train"):
        own = [s for s in segments if s.recording.name == recording.name]
        frames = [f for s in own for f in range(s.start_frame, s.start_frame + s.frames)]
        assert frames == list(range(recording.frames))
        assert all(s.frames <= sequence_frames for s in own)


@given(st.integers(5, 80))
@settings(deadline=None, max_examples=15)
def test_a_batch_holds_the_recordings_own_samples_and_masks_the_rest(tiny_corpus, sequence_frames):
    segments, batch = pieces(tiny_corpus, sequence_frames)
    assert batch.waveform.shape == (len(segments), sequence_frames * tiny_corpus.hop)
    for row, segment in enumerate(segments):
        audio, gold = tiny_corpus.crop(segment.recording, segment.start_frame, segment.frames)
        np.testing.assert_array_equal(batch.waveform[row, : audio.size], audio)
        assert (batch.waveform[row, audio.size :] == 0).all()
        np.testing.assert_array_equal(batch.gold[row, : segment.frames], gold)
        assert batch.mask[row].tolist() == [t < segment.frames for t in range(sequence_frames)]


@given(st.integers(5, 80), st.tuples(st.integers(0, 100), st.integers(0, 100)))
@settings(deadline=None, max_examples=30)
def test_a_label_shift_trains_on_the_label_to_come(tiny_corpus, sequence_frames, shift_frames):
    segments, batch = pieces(tiny_corpus, sequence_frames, shift_frames)
    for row, segment in enumerate(segments):
        _, gold = tiny_corpus.crop(segment.recording, 0, segment.recording.frames)
        for t in range(sequence_frames):
            ahead = [segment.start_frame + t + shift for shift in shift_frames]
            known = t < segment.frames and max(ahead) < segment.recording.frames
            assert bool(batch.mask[row, t]) == known
            if known:
                assert batch.gold[row, t].tolist() == [gold[place, target] for target, place in enumerate(ahead)]


def test_the_shift_moves_labels_and_not_audio(tiny_corpus):
    _, plain = pieces(tiny_corpus, 20)
    _, shifted = pieces(tiny_corpus, 20, (7, 7))
    assert torch.equal(plain.waveform, shifted.waveform)


@given(st.integers(1, 80), st.integers(0, 2**70), st.integers(1, 500))
@settings(deadline=None, max_examples=60)
def test_random_segments_are_as_many_as_the_grids_and_whole_where_one_fits(tiny_corpus, sequence_frames, seed, epoch):
    grid = cut_segments(tiny_corpus.recordings("train"), sequence_frames)
    drawn = draw_segments(grid, sequence_frames, seed, epoch)
    assert [s.recording.name for s in drawn] == [s.recording.name for s in grid]
    for segment in drawn:
        frames = segment.recording.frames
        assert segment.frames == min(sequence_frames, frames)
        assert 0 <= segment.start_frame <= max(0, frames - sequence_frames)
        if frames < sequence_frames:
            assert segment in grid


def test_every_place_where_a_segment_fits_is_drawn_equally_often(tiny_corpus):
    (recording, *_) = tiny_corpus.recordings("train")
    grid = cut_segments([recording], 57)  # of 60 frames: four places, two segments
    starts = [s.start_frame for epoch in range(1, 1001) for s in draw_segments(grid, 57, 3, epoch)]
    counts = np.bincount(starts, minlength=4)
    assert counts.size == 4
    # 2,000 draws: a chi-square of 3 degrees of freedom above 16.3 has a probability of 0.001
    assert ((counts - 500) ** 2 / 500).sum() < 16.3


def test_random_places_follow_from_seed_and_epoch_alone(tiny_corpus):
    grid = cut_segments(tiny_corpus.recordings("train"), 10)

    def starts(seed, epoch):
        return [s.start_frame for s in draw_segments(grid, 10, seed, epoch)]

    assert starts(0, 1) == starts(0, 1)
    assert starts(0, 1) != starts(0, 2)
    assert starts(0, 1) != starts(1, 1)


def test_an_epoch_has_the_segments_that_the_configuration_asks_for(tiny_corpus):
    grid = cut_segments(tiny_corpus.recordings("train"), 20)
    assert segments_of_epoch(grid, 20, TrainingConfig(seed=4), 2) == grid
    random = segments_of_epoch(grid, 20, TrainingConfig(seed=4, segments="random"), 2)
    assert random == draw_segments(grid, 20, 4, 2) != grid


def test_batches_hold_all_segments_once_in_an_order_of_seed_and_epoch(tiny_corpus):
    segments = cut_segments(tiny_corpus.recordings("train"), 10)

    def order(seed, epoch):
        batches = list(shuffled_batches(segments, 4, seed, epoch))
        assert all(len(batch) == 4 for batch in batches[:-1])
        return [segment for batch in batches for segment in batch]

    assert sorted(map(str, order(0, 1))) == sorted(map(str, segments))
    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


def test_limits_take_the_first_recordings_and_their_first_seconds(tiny_corpus):
    config = TrainingConfig(limit_recordings=2, limit_s=0.16)
    cut = recordings_of(tiny_corpus, "train", config)
    assert [(r.name, r.frames, r.samples) for r in cut] == [("train_1", 40, 2560), ("train_2", 40, 2560)]
    whole = recordings_of(tiny_corpus, "train", TrainingConfig(limit_s=60.0))
    assert [r.frames for r in whole] == [60, 45, 37]
    audio, _ = tiny_corpus.crop(cut[0], 0, 40)
    np.testing.assert_array_equal(audio, tiny_corpus.crop(whole[0], 0, 60)[0][:2560])
