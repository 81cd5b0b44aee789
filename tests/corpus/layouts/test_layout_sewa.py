"""The layout `sewa`: what its mimic holds is read as it was written, and what is wrong is said."""

import shutil

import numpy as np
import pytest
from layout_refusals import by_name, edit, labels_of, refusal

from ser_ray.corpus.layouts.sewa import read
from ser_ray.corpus.mimics.people import NOTICE, at_times, person
from ser_ray.corpus.mimics.sewa import RECORDINGS

LAYOUT = "sewa"
SECONDS, SEED = 4.0, 3


def test_recordings_are_those_of_the_mimic(mimic):
    description = read(mimic)
    sources = by_name(description)
    assert set(sources) == set(RECORDINGS)
    assert description.alignment == "start"
    assert description.label_rate_hz is None
    assert (description.notice, description.warnings) == (NOTICE, ())
    assert {name: source.partition for name, source in sources.items()} == {
        "Train_01": "train",
        "Train_02": "train",
        "Train_DE_03": "train",
        "Devel_01": "devel",
        "Devel_HU_02": "devel",
        "Test_CN_01": "test",
    }
    assert sources["Test_CN_01"].labels is None
    assert sources["Test_CN_01"].label_files == ()
    assert {name: source.extra.get("culture") for name, source in sources.items() if source.extra.get("culture")} == {
        "Train_DE_03": "DE",
        "Devel_HU_02": "HU",
        "Test_CN_01": "CN",
    }
    for name, source in sources.items():
        assert source.audio == mimic / "audio" / f"{name}.wav"
        assert source.speaker == name
        assert (source.start_s, source.stop_s) == (0, None)
        assert source.extra["turns_s"] == "1.5"  # turns from 0.5 and 3.0 s on; the second would not end


@pytest.mark.parametrize("name", ["Train_01", "Train_DE_03"])  # without a header and with one
def test_labels_are_those_of_the_mimic(mimic, name):
    labelled = labels_of(by_name(read(mimic))[name])
    (traces,) = labelled.gold
    assert not labelled.ratings
    times = np.arange(40) / 10
    np.testing.assert_array_equal(traces.times_s, times)
    someone = person(RECORDINGS.index(name), SECONDS, SEED)
    said = {target: at_times(someone.gold(target), times) for target in ("arousal", "valence")}
    for target, trace in said.items():
        np.testing.assert_allclose(traces.values[target], trace, atol=5.1e-7)
    np.testing.assert_allclose(traces.values["liking"], (said["arousal"] + said["valence"]) / 2, atol=5.1e-7)
    assert traces.lines[0] == (2 if name == "Train_DE_03" else 1)


def test_turns_need_not_be_there(folder):
    shutil.rmtree(folder / "turns")
    assert "turns_s" not in read(folder).sources[0].extra


def test_other_files_are_named_in_a_warning(folder):
    shutil.copy(folder / "audio" / "Train_01.wav", folder / "audio" / "intro.wav")
    shutil.copy(folder / "audio" / "Train_01.wav", folder / "audio" / "._Train_01.wav")
    description = read(folder)
    assert len(description.sources) == len(RECORDINGS)
    assert description.warnings == (
        f"{folder / 'audio' / 'intro.wav'} is left out: its name is not like Train_01 or Devel_DE_01",
    )


def test_another_layout(tmp_path):
    (tmp_path / "audio").mkdir()
    assert refusal(lambda: read(tmp_path), tmp_path) == (
        "SRC is not in the layout sewa: looked for audio/, labels/; missing: labels/; it contains audio/"
    )
    (tmp_path / "labels").mkdir()
    (tmp_path / "audio" / "P16.wav").write_bytes(b"")
    assert refusal(lambda: read(tmp_path), tmp_path) == (
        "SRC/audio has no recording named like Train_01.wav or Devel_DE_01.wav; it contains P16.wav"
    )


def test_missing_partners_are_named_all_at_once(folder):
    (folder / "labels" / "Devel_01.csv").unlink()
    (folder / "audio" / "Train_02.wav").unlink()
    message = refusal(lambda: read(folder), folder)
    assert "SRC: 2 mistakes" in message
    assert (
        "SRC/labels/Devel_01.csv is missing: labels of SRC/audio/Devel_01.wav, which is in partition devel" in message
    )
    assert "SRC/audio/Train_02.wav is missing: audio of the labels SRC/labels/Train_02.csv" in message


def test_malformed_labels_name_the_line(folder):
    def say(name, line, text):
        edit(folder / "labels" / f"{name}.csv", line, text)
        return refusal(by_name(read(folder))[name].labels, folder)

    assert say("Train_01", 3, "'Train_01';0.2;0,1;0;0") == (
        "SRC/labels/Train_01.csv, line 3: arousal is '0,1', which is not a number; write decimals with a point, not "
        "a comma"
    )
    assert say("Train_02", 7, "'Train_02';0.6;0.1") == (
        "SRC/labels/Train_02.csv, line 7: 3 fields, but must be 5: name, timestamp, arousal, valence, liking; "
        "correct the line, or remove the file"
    )
    assert say("Devel_HU_02", 1, "name;time;arousal;valence;liking") == (
        "SRC/labels/Devel_HU_02.csv has no column timestamp, only name, time, arousal, valence, liking"
    )
    (folder / "labels" / "Devel_01.csv").write_text("")
    assert refusal(by_name(read(folder))["Devel_01"].labels, folder).startswith(
        "SRC/labels/Devel_01.csv contains no labels"
    )


def test_malformed_turns_name_the_line(folder):
    edit(folder / "turns" / "Train_01.csv", 1, "0.5")
    edit(folder / "turns" / "Devel_HU_02.csv", 2, "0.5;end")
    message = refusal(lambda: read(folder), folder)
    assert "SRC/turns/Train_01.csv, line 1: 1 field, but a turn needs two: start;end" in message
    assert "SRC/turns/Devel_HU_02.csv, line 2: turn is 'end', which is not a number" in message
