"""What a check finds in labels, audio and partitions: each provoked in a corpus made for it, and no other with it."""

from functools import partial

import numpy as np
import pytest
from check_cases import FRAMES, gold_of, only, row, said, write_sound
from corpus_cases import noise
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_ray.corpus.describing.check import SHOWN, check_corpus
from ser_ray.corpus.describing.inspection import clipping, silence, true_runs


@pytest.fixture
def make(tmp_path):
    """Write a corpus of three sound recordings and of rows; return its folder."""
    return partial(write_sound, tmp_path / "c")


def test_gold_outside_its_range(make):
    gold = gold_of(5)
    gold[:2, 0] = -1.5, 1.00001
    gold[3, 1] = -1.25
    low, high = gold[:, 1].min(), gold[:, 1].max()
    assert said(make(row("d", "train", 5, gold=gold))) == [
        "warning: d: gold of arousal lies in [-1.5, 1.00001], but labels are expected in [-1, 1]",
        f"warning: d: gold of valence lies in [{low:g}, {high:g}], but labels are expected in [-1, 1]",
    ]


def test_gold_at_the_ends_of_its_range(make):
    gold = gold_of(5)
    gold[:2, 0] = -1, 1
    assert said(make(row("d", "train", 5, gold=gold))) == []


def test_constant_gold(make):
    gold = gold_of(5)
    gold[:, 0] = 0.25
    assert only(make(row("d", "train", 5, gold=gold))) == (
        "warning: d: gold of arousal is 0.25 in all frames: the CCC of constant gold is 0 or undefined"
    )


def test_ratings(make):
    fine, high, endless, none = (gold_of(seed)[:, 0].copy() for seed in range(5, 9))
    fine[3:9] = np.nan  # the rater says nothing: legal
    high[3], endless[:2], none[:] = 1.25, np.inf, np.nan
    ratings = {"arousal": {"fine": fine, "high": high, "endless": endless, "none": none}}
    assert said(make(row("d", "train", 5, ratings=ratings))) == [
        f"warning: d: arousal of rater high lies in [{high.min():g}, 1.25], but labels are expected in [-1, 1]",
        "warning: d: arousal of rater none has no rating in any frame",
        "wrong: d: arousal of rater endless is infinite in 2 frames",
    ]


def test_clipping(make):
    audio = noise(FRAMES * 640, 5) // 2
    audio[1000:1004] = 32767
    audio[5000:5007] = -32768
    audio[6000:6030:10] = -32767  # alone
    assert only(make(row("d", "train", 5, audio=audio))) == (
        "warning: d: 0.09% of its samples are at full scale, up to 7 in a row (0.4 ms): clipped?"
    )


def test_loud_is_not_clipped(make):
    audio = noise(FRAMES * 640, 5)
    audio[::400] = 32767  # often, but never two in a row
    audio[1:1000:3] = -32768
    rarely = noise(FRAMES * 640 * 5, 6)
    rarely[10:17] = 32767  # a run, but seven samples of 80,000
    few = row("e", "train", 6, audio=rarely, gold=gold_of(6, 125), ratings=None)
    assert said(make(row("d", "train", 5, audio=audio), few)) == []


def test_silence(make):
    audio = noise(8 * 16000, 5)
    audio[16000:] = 300 + noise(7 * 16000, 6) // 5000  # an offset and four steps of noise
    whole = row("d", "train", 5, audio=audio, gold=gold_of(5, 200), ratings=None)
    assert only(make(whole)) == "warning: d: silent (below -70 dBFS) for up to 7.0 s in a row and 87.5% in total"


def test_a_silence_of_five_seconds_in_much_speech(make):
    audio = noise(16 * 16000, 5)
    audio[16000 : 6 * 16000] = 0
    assert only(make(row("d", "train", 5, audio=audio, gold=gold_of(5, 400), ratings=None))) == (
        "warning: d: silent (below -70 dBFS) for up to 5.0 s in a row and 31.2% in total"
    )


def test_pauses_are_no_silence(make):
    audio = noise(12 * 16000, 5)
    audio[16000 : 6 * 16000 - 1600] = 0  # 4.9 s
    assert said(make(row("d", "train", 5, audio=audio, gold=gold_of(5, 300), ratings=None))) == []


def test_silence_in_many_pieces(make):
    audio = noise(8 * 16000, 5)
    audio.reshape(-1, 16000)[:, 4800:] = 0
    assert only(make(row("d", "train", 5, audio=audio, gold=gold_of(5, 200), ratings=None))) == (
        "warning: d: silent (below -70 dBFS) for up to 0.7 s in a row and 70.0% in total"
    )


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 7))
def test_runs_against_counting(flags, piece):
    longest = current = 0
    for flag in flags:
        current = current + 1 if flag else 0
        longest = max(longest, current)
    blocks = [np.array(flags[start : start + piece]) for start in range(0, len(flags), piece)]
    assert true_runs(blocks) == (sum(flags), longest)


def test_clipping_and_silence_across_blocks():
    audio = noise(3 * 960_000 + 7, 1)
    audio[960_000 - 20 : 960_000 + 30] = 32767
    share, run = clipping(audio)
    assert (share, run) == (50 / audio.size, 50)
    audio[1_900_800:2_000_000] = 0
    assert silence(audio) == (62 / 1800, 6.2)
    assert silence(audio[:100]) == (0, 0)


def test_a_speaker_in_two_partitions(make):
    folder = make(row("d", "test", 5, speaker="S1"), row("e", "devel", 6, speaker="S1"))
    assert only(folder) == (
        "wrong: speaker S1 is in several partitions: train (a), devel (e), test (d); move all of them to one partition"
    )


@pytest.mark.parametrize("column", ["dyad", "Group_id", "GROUP", "Session", "conversation", "video"])
def test_a_dyad_in_two_partitions(make, column):
    rows = [row(n, p, s, extra={column: d}) for n, p, s, d in [("d", "train", 5, "12"), ("e", "devel", 6, "12")]]
    alone = row("f", "test", 7, extra={column: "13"})
    assert only(make(*rows, alone)) == (
        f"wrong: {column} 12 is in several partitions: train (d), devel (e); move all of them to one partition"
    )


def test_the_same_samples_in_one_partition_and_in_two(make):
    rows = [row("d", "train", 5, audio=noise(FRAMES * 640, 1)), row("e", "test", 6, audio=noise(FRAMES * 640, 1))]
    almost = noise(FRAMES * 640, 1)
    almost[-1] += 1
    assert said(make(*rows, row("f", "devel", 7, audio=almost))) == [
        "warning: d (train) has the same 16000 samples as a: they count twice in train",
        "wrong: e (test) has the same 16000 samples as a (train): a recording must be in only one partition",
    ]


def test_many_findings_are_counted(make):
    rows = [row(f"n{i}", "train", 10 + i, gold=np.full((FRAMES, 2), 0.5, np.float32)) for i in range(6)]
    folder = make(*rows)
    lines = said(folder)
    assert len(lines) == SHOWN + 1
    assert lines[0] == "warning: n0: gold of arousal is 0.5 in all frames: the CCC of constant gold is 0 or undefined"
    assert lines[-1] == "warning: and 7 more of this kind (constant)"
    assert check_corpus(folder).lines()[-1].endswith(": 0 wrong, 12 warnings")
