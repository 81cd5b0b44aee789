"""A corpus without the gold that all trials would fail for is refused before anything is trained."""

import numpy as np
import pytest

from ser_ray.corpus import CorpusWriter, open_corpus
from ser_ray.errors import InputError
from ser_ray.models import ModelConfig
from ser_ray.sweep.planning.prepare import check_gold, gold_warnings
from ser_ray.sweep.spec.config import read_sweep
from ser_ray.sweep.spec.document import parse_document
from ser_ray.training.config import TrainingConfig
from ser_ray.trial import TrialConfig

FRAMES, HOP = 30, 640


@pytest.fixture
def corpus_of(tmp_path):
    """Returns a corpus with so many recordings per partition, whose gold is made by a function of name and gold."""

    def make(gold_of=lambda name, gold: gold, **counts):
        rng = np.random.default_rng(0)
        with CorpusWriter(tmp_path / "c", name="c", label_rate=25.0, targets=("arousal", "valence")) as writer:
            for partition, count in ({"train": 2, "devel": 2, "test": 1} | counts).items():
                for number in range(count):
                    name = f"{partition}_{number}"
                    audio = rng.normal(0, 3000, FRAMES * HOP).astype(np.int16)
                    gold = gold_of(name, rng.normal(0, 0.1, (FRAMES, 2)).astype(np.float32))
                    writer.add(name, partition, f"S{name}", audio, gold)
        return open_corpus(tmp_path / "c")

    return make


def without(*names, column=slice(None), frames=slice(None)):
    def gold_of(name, gold):
        if name in names:
            gold[frames, column] = np.nan
        return gold

    return gold_of


def sweep(text=""):
    return read_sweep(parse_document(f"name: s\n{text}", "s.yaml"))


def config(targets=("arousal", "valence"), limit=None):
    return TrialConfig(model=ModelConfig(targets=targets), training=TrainingConfig(limit_recordings=limit))


@pytest.mark.parametrize(
    ("counts", "gold_of", "message"),
    [
        (
            {"devel": 0},
            without(),
            "partition devel has no recordings, but the best epoch and the post-processing are chosen by it",
        ),
        ({"train": 0}, without(), "partition train has no recordings, but networks are trained on it"),
        (
            {},
            lambda name, gold: None if "devel" in name else gold,
            "of all 2 of devel, none is labelled in all frames for",
        ),
        ({}, without("devel_0", "devel_1", column=1), "none is labelled in all frames for valence, but the best epoch"),
        ({}, without("devel_0", "devel_1", column=1, frames=3), "none is labelled in all frames for valence"),
        ({}, without("train_0", "train_1", column=0), "of all 2 of train, none is labelled for arousal, but networks"),
    ],
)
def test_what_every_trial_would_fail_for_is_said_at_once(corpus_of, counts, gold_of, message):
    corpus = corpus_of(gold_of, **counts)
    for configs in ([config()], []):  # also where a guided search has proposed nothing yet
        with pytest.raises(InputError) as raised:
            check_gold(sweep(), configs, corpus)
        assert message in str(raised.value)
        assert str(corpus.path) in str(raised.value)


def test_the_recordings_that_trials_use_count(corpus_of):
    corpus = corpus_of(without("devel_0", column=0))
    check_gold(sweep(), [config()], corpus)
    with pytest.raises(InputError, match="of the first 1 recordings of devel, none is labelled in all frames"):
        check_gold(sweep(), [config(), config(limit=1)], corpus)
    check_gold(sweep(), [config(targets=("valence",), limit=1)], corpus)


def test_targets_that_are_chosen_jointly_need_a_recording_in_common(corpus_of):
    either = without("devel_0", column=0), without("devel_1", column=1)
    corpus = corpus_of(lambda name, gold: either[1](name, either[0](name, gold)))
    check_gold(sweep(), [config()], corpus)
    with pytest.raises(InputError, match="none is labelled in all frames for arousal and valence, but the best epoch"):
        check_gold(sweep("trial:\n  search: {choice: joint}\n"), [config()], corpus)


def test_holes_in_train_and_a_test_without_gold_are_fine(corpus_of):
    holes = without("train_0", "train_1", frames=slice(5, 20))
    check_gold(sweep(), [config()], corpus_of(lambda name, gold: None if "test" in name else holes(name, gold)))


def test_a_grid_too_large_is_refused_with_its_line(tmp_path):
    with CorpusWriter(tmp_path / "c", name="c", label_rate=25.0, targets=("arousal", "valence")) as writer:
        for partition in ("train", "devel"):
            gold = np.zeros((12_000, 2), np.float32)
            writer.add(partition, partition, partition, np.arange(12_000 * HOP).astype(np.int16), gold)
    text = "trial:\n  search: {max_window_s: 300, max_shift_s: 200}\n"
    with pytest.raises(InputError) as raised:
        check_gold(sweep(text), [config()], open_corpus(tmp_path / "c"))
    assert str(raised.value).startswith(
        "s.yaml:3:3: trial.search: max_window_s 300 and max_shift_s 200 at 25 frames a second: max_window_frames 7501"
    )


@pytest.mark.parametrize(("partition", "count"), [("devel", 1), ("train", 1), ("test", 0), ("nowhere", 0)])
def test_a_target_that_does_not_move_is_said(corpus_of, partition, count):
    def gold_of(name, gold):
        if name.startswith(partition):
            gold[:, 1] = 0.25
        return gold

    corpus = corpus_of(gold_of)
    found = gold_warnings([config(), config()], corpus)
    assert len(found) == count
    assert all(
        line.startswith(f"warning: gold of valence is constant in {partition}: its CCC counts as 0") for line in found
    )
    assert gold_warnings([config(targets=("arousal",))], corpus) == []


@pytest.mark.parametrize(("partition", "value"), [("devel", 100.0), ("train", -1.5), ("train_1", 2.0), ("test", 9.0)])
def test_labels_outside_the_usual_scale_are_said(corpus_of, partition, value):
    def gold_of(name, gold):
        if name.startswith(partition):
            gold[3, 1] = value
        gold[0] = np.nan, 0.5
        return gold

    corpus = corpus_of(gold_of)
    found = gold_warnings([config(), config()], corpus)
    assert gold_warnings([config()], corpus) == found
    if partition == "test":
        assert found == []
        return
    (said,) = found
    assert said.startswith("warning: gold of valence goes from ")
    assert f"{value:.4g}" in said
    assert (
        f"in a recording of {partition.partition('_')[0]}: learning rates are chosen for labels from -1 to 1;" in said
    )
    assert gold_warnings([config(targets=("arousal",))], corpus) == []
    assert (gold_warnings([config(limit=1)], corpus) == []) == (partition == "train_1")


def test_labels_on_the_usual_scale_are_not_mentioned(corpus_of):
    def gold_of(name, gold):
        gold[2:4] = 1.0, -1.0
        return gold

    assert gold_warnings([config()], corpus_of(gold_of)) == []


def test_the_plan_tells_of_both(corpus_of):
    def gold_of(name, gold):
        gold[:, 1] = 0.25
        gold[0, 0] = 40
        return gold

    said = gold_warnings([config()], corpus_of(gold_of))
    assert ["constant in train" in said[0], "constant in devel" in said[1], "gold of arousal goes" in said[2]] == [
        True
    ] * 3
