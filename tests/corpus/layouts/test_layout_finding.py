"""`auto` finds each layout's mimic, and says of a folder in none what was looked for and what is there."""

import json

import numpy as np
import pytest

from ser_ray.corpus import open_corpus
from ser_ray.corpus.__main__ import main
from ser_ray.corpus.importing.ingest import import_corpus
from ser_ray.corpus.layouts import LAYOUTS, read_layout
from ser_ray.corpus.mimics import MIMICS
from ser_ray.errors import InputError


def test_every_layout_has_a_mimic():
    assert list(LAYOUTS) == list(MIMICS)


RIGHT = {  # of 6 s each: recordings, labelled ones and speakers of train, devel, test; seconds, labels a second, raters
    "table": ([2, 1, 1], [2, 1, 1], [1, 1, 1], 24, 25, 6),
    "recola_avec": ([2, 2, 1], [2, 2, 0], [2, 2, 1], 30, 25, 6),
    "recola": ([2, 2, 1], [2, 2, 1], [2, 2, 1], 30, 25, 6),
    "recola46": ([2, 2, 1], [2, 2, 1], [2, 2, 1], 30, 25, 0),
    "sewa": ([3, 2, 1], [3, 2, 0], [3, 2, 1], 36, 10, 0),
    "muse": ([7, 3, 3], [7, 3, 0], [2, 1, 1], 16.5, 4, 0),  # segments, and parts of segments
    "msp_conversation": ([3, 1, 1], [3, 1, 0], [2, 1, 1], 23.28, 25, 3),  # parts, which raters begin a little late
    "semaine": ([2, 1, 1], [2, 1, 0], [1, 1, 1], 24, 50, 3),
    "audformat": ([3, 1, 1], [3, 1, 0], [2, 1, 1], 23.8, 25, 3),  # one has a gap
}


@pytest.mark.parametrize("layout", MIMICS)
def test_a_mimic_comes_out_of_info_with_the_right_numbers(tmp_path, capsys, layout):
    if layout == "audformat":
        pytest.importorskip("audformat", reason="audformat is an extra")
    source, out = tmp_path / "source", tmp_path / "out"
    assert main(["mimic", layout, str(source), "--seconds", "6"]) == 0
    assert main(["import", layout, str(source), str(out)]) == 0
    assert main(["check", str(out)]) == 0
    capsys.readouterr()
    assert main(["info", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    each, everyone = [said["partitions"][p] for p in ("train", "devel", "test")], said["partitions"]["all"]
    counts = tuple([one[what] for one in each] for what in ("recordings", "labelled", "speakers"))
    raters = everyone["targets"]["arousal"]["raters"]
    assert (*counts, round(3600 * everyone["hours"], 3), said["label_rate_hz"], raters) == RIGHT[layout]
    corpus = open_corpus(out)
    for partition, one in zip(("train", "devel"), each[:2], strict=True):
        gold = np.concatenate([corpus.gold(r) for r in corpus.recordings(partition)]).astype(np.float64)
        assert one["frames"] == len(gold)
        for column, target in enumerate(("arousal", "valence")):
            figures = one["targets"][target]
            assert figures["mean"] == pytest.approx(gold[:, column].mean(), abs=1e-9)
            assert figures["std"] == pytest.approx(gold[:, column].std(), abs=1e-9)
            assert (figures["low"], figures["high"]) == (gold[:, column].min(), gold[:, column].max())


@pytest.mark.parametrize("layout", MIMICS)
def test_a_mimic_is_found_and_goes_in(tmp_path, layout):
    if layout == "audformat":
        pytest.importorskip("audformat", reason="audformat is an extra")
    source = tmp_path / "source"
    source.mkdir()
    MIMICS[layout](source, 6.0, 0)
    assert read_layout("auto", source)[0] == layout
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
        read_layout("auto", tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{tmp_path} matches no known layout; it contains labels.txt, mine/"
    assert lines[1] == "looked for"
    assert [line.split(":")[0].strip() for line in lines[2:]] == list(LAYOUTS)
    assert "  table: recordings.csv and partitions.csv (columns name, partition, speaker)" in lines
    assert "  sewa: audio/, labels/" in lines
    assert all(line.count("(") == line.count(")") for line in lines)  # nothing was cut off
    with pytest.raises(InputError, match="it does not exist"):
        read_layout("auto", tmp_path / "nowhere")


def test_a_mistake_in_the_layout_that_fits(tmp_path):
    MIMICS["table"](tmp_path, 6.0, 0)
    (tmp_path / "audio" / "anna_1.wav").unlink()
    with pytest.raises(InputError, match=r"as table: .*audio of recording anna_1"):
        read_layout("auto", tmp_path)


def test_two_layouts_that_fit(tmp_path):
    for layout in ("table", "muse"):
        MIMICS[layout](tmp_path, 6.0, 0)
    with pytest.raises(InputError, match="matches several layouts, table and muse: name one of them instead of auto"):
        read_layout("auto", tmp_path)
