"""What values gold takes: a target that does not move in train or devel is said when it is imported."""

import numpy as np
import pytest
import soundfile
from corpus_cases import noise

from ser_ray.corpus import open_corpus
from ser_ray.corpus.describing.gold_values import constant_warnings, is_constant, range_beyond
from ser_ray.corpus.importing.ingest import import_corpus
from ser_ray.errors import InputError


@pytest.fixture
def labelled(table_source, tmp_path):
    """Import labels that a function makes of a recording's name and labels [rows, 2]."""

    def of(change):
        for number, name in enumerate(table_source.partitions):
            times, values = table_source.traces(number)
            table_source.labels(name, times, change(name, values))
        return import_corpus("table", table_source.folder, tmp_path / "out")

    return of


def still(*names, columns):
    def change(name, values):
        if name in names:
            values[:, columns] = 0.25
        return values

    return change


@pytest.mark.parametrize(
    ("names", "columns", "said"),
    [
        ("c", [1], [("valence", "devel", "--targets arousal")]),
        ("ab", [0], [("arousal", "train", "--targets valence")]),
        ("abc", [0], [("arousal", "train", "--targets valence"), ("arousal", "devel", "--targets valence")]),
        ("c", [0, 1], [("arousal", "devel", "correct the labels"), ("valence", "devel", "correct the labels")]),
        ("a", [0], []),  # b moves
        ("d", [0, 1], []),  # test chooses nothing
    ],
)
def test_a_target_that_does_not_move_is_said_at_the_import(labelled, names, columns, said):
    made = labelled(still(*names, columns=columns))
    assert len(made.warnings) == len(said)
    for line, (target, partition, fix) in zip(made.warnings, said, strict=True):
        assert line.startswith(f"gold of {target} is constant in {partition}: its CCC counts as 0 and lowers the mean")
        assert line.endswith(fix) or fix in line


def test_recordings_that_stand_still_apart_move_together(labelled):
    def change(name, values):
        values[:, 0] = {"a": 0.1, "b": 0.2}.get(name, 0.3)
        return values

    corpus = open_corpus(labelled(change).path)
    assert not is_constant(corpus, "train", "arousal")
    assert is_constant(corpus, "train", "arousal", 1)
    assert is_constant(corpus, "devel", "arousal")
    assert len(constant_warnings(corpus)) == 1


def test_an_import_that_goes_on_says_it_of_recordings_that_it_had_written(labelled, table_source):
    table_source.audio("d", np.zeros(32000, np.int16))
    with pytest.raises(InputError, match=r"3 of 4 recordings are kept"):
        labelled(still("c", columns=[1]))
    table_source.audio("d", noise(32000))
    made = import_corpus("table", table_source.folder, table_source.folder.parent / "out")
    assert made.kept == 3
    assert "gold of valence is constant in devel" in made.warnings[0]


def test_what_leaves_the_usual_scale(labelled):
    def change(name, values):
        values[5] = {"a": (1.0, -1.0), "b": (50.0, 0.0), "c": (0.0, -1.0001)}.get(name, (0, 0))
        return values

    corpus = open_corpus(labelled(change).path)
    low, high = range_beyond(corpus, "train", "arousal")
    assert (high, -1 <= low < 0) == (50.0, True)
    assert range_beyond(corpus, "train", "arousal", 1) is None
    assert range_beyond(corpus, "train", "valence") is None
    assert range_beyond(corpus, "devel", "valence")[0] == np.float32(-1.0001)


def test_it_comes_before_what_is_said_of_single_recordings(labelled, table_source):
    for name in table_source.partitions:
        path = table_source.folder / "audio" / f"{name}.wav"
        soundfile.write(path, noise(32000).astype(np.float32), 16000, subtype="FLOAT")
    said = labelled(still("c", columns=[1])).warnings
    assert "is constant in devel" in said[0]
    assert ["exceeds full scale" in line for line in said[1:]] == [True] * 4
