"""`auto` finds each layout's mimic, and says of a folder in none what was looked for and what is there."""

import pytest

from ser_ray.corpus import open_corpus
from ser_ray.corpus.ingest import import_corpus
from ser_ray.corpus.layouts import LAYOUTS
from ser_ray.corpus.layouts.finding import describe
from ser_ray.corpus.mimics import MIMICS
from ser_ray.errors import InputError


def test_every_layout_has_a_mimic():
    assert list(LAYOUTS) == list(MIMICS)


@pytest.mark.parametrize("layout", MIMICS)
def test_a_mimic_is_found_and_goes_in(tmp_path, layout):
    if layout == "audformat":
        pytest.importorskip("audformat", reason="audformat is an extra")
    source = tmp_path / "source"
    source.mkdir()
    MIMICS[layout](source, 6.0, 0)
    assert describe("auto", source, LAYOUTS)[0] == layout
    corpus = open_corpus(import_corpus("auto", source, tmp_path / "out", jobs=1).path)
    assert corpus.manifest.preparation["layout"] == layout
    assert corpus.targets == ("arousal", "valence")
    assert corpus.manifest.notice.startswith("Made up by ser_ray")
    assert all(corpus.recordings(partition) for partition in ("train", "devel", "test"))
    for recording in corpus.recordings("train"):
        gold = corpus.gold(recording)
        assert gold.shape == (recording.frames, 2)
        assert abs(gold).max() < 1.5  # gold around the mean of the raters may leave their range


def test_a_folder_in_no_layout(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "labels.txt").touch()
    with pytest.raises(InputError) as caught:
        describe("auto", tmp_path, LAYOUTS)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{tmp_path} is in no layout that is known; it holds labels.txt, mine/"
    assert lines[1] == "looked for"
    assert [line.split(":")[0].strip() for line in lines[2:]] == list(LAYOUTS)
    assert "  table: recordings.csv and partitions.csv (columns name, partition, speaker)" in lines
    assert "  sewa: audio/, labels/" in lines
    assert all(line.count("(") == line.count(")") for line in lines)  # nothing was cut off
    with pytest.raises(InputError, match="it does not exist"):
        describe("auto", tmp_path / "nowhere", LAYOUTS)


def test_a_mistake_in_the_layout_that_fits(tmp_path):
    MIMICS["table"](tmp_path, 6.0, 0)
    (tmp_path / "audio" / "anna_1.wav").unlink()
    with pytest.raises(InputError, match=r"as table: .*audio of recording anna_1"):
        describe("auto", tmp_path, LAYOUTS)


def test_two_layouts_that_fit(tmp_path):
    MIMICS["table"](tmp_path, 6.0, 0)
    layouts = {"one": LAYOUTS["table"], "other": LAYOUTS["table"]}
    with pytest.raises(InputError, match="could be in the layout one or other: name the one"):
        describe("auto", tmp_path, layouts)
