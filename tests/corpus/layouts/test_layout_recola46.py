"""RECOLA as the paper's authors keep it: both variants of their files, audio beside videos, the paper's own split."""

import os
import pickle
import re
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from ser_ray.corpus.gold.consensus import gold_standard
from ser_ray.corpus.layouts.recola46 import read, read_two_columns
from ser_ray.corpus.layouts.recola_split import paper_split
from ser_ray.corpus.mimics.people import NOTICE, at_times, person
from ser_ray.errors import InputError

LAYOUT = "recola46"
SECONDS, SEED = 2.0, 7
GOLD, VIDEO, AUDIO = "Ratings_affective_behaviour_CCC_centred", "Video_recordings_MP4", "Audio_recordings"


def test_recordings_and_partitions(mimic):
    description = read(mimic)
    assert [(s.name, s.partition, s.speaker) for s in description.sources] == [
        ("P13", "test", "P13"),
        ("P14", "devel", "P14"),
        ("P15", "train", "P15"),
        ("P18", "train", "P18"),
        ("P19", "devel", "P19"),
    ]
    assert description.alignment == "end"
    assert description.notice == NOTICE
    assert description.warnings == (
        "41 of the paper's 46 people are missing (P16, P17, P20, P21, P22, P23, P24, P25, ...): results will not be "
        "comparable with the paper's",
    )
    for recording in description.sources:
        assert recording.audio == mimic / AUDIO / f"{recording.name}.wav"
        assert recording.label_files == tuple(
            mimic / GOLD / target / f"{recording.name}.csv" for target in ("arousal", "valence")
        )


def test_gold_is_what_was_written(mimic):
    times = np.arange(round(SECONDS * 25) + 1) * 0.04
    for recording in read(mimic).sources:
        labelled = pickle.loads(pickle.dumps(recording.labels))()
        assert labelled.ratings == {}
        someone = person(int(recording.name[1:]), SECONDS, SEED)
        for target, gold in zip(("arousal", "valence"), labelled.gold, strict=True):
            rated = [at_times(trace, times) for trace in someone.ratings[target].values()]
            expected = [float(f"{value:.6f}") for value in gold_standard(rated, "ccc_centred")]
            assert list(gold.values) == [target]
            np.testing.assert_array_equal(gold.values[target], expected)
            np.testing.assert_allclose(gold.times_s, times, rtol=0, atol=1e-9)


def test_mimic_has_both_variants(mimic):
    assert (mimic / GOLD / "arousal" / "P18.csv").read_text().startswith("0,")
    assert (mimic / GOLD / "arousal" / "P19.csv").read_text().startswith("time;GoldStandard\n0;")
    header = soundfile.info(mimic / AUDIO / "P15.wav")
    assert (header.samplerate, header.channels) == (44100, 2)


@pytest.mark.parametrize("header", ["", "time{}arousal\n", " Time {}GoldStandard \n", "'frameTime'{}'x'\n"])
@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_variants_of_the_files(tmp_path, header, separator, ending):
    path = tmp_path / "P16.csv"
    rows = f"0{separator}-0.5\n0.04{separator} 1e-2\n\n0.08{separator}nan\n"
    path.write_text(header.format(separator) + rows, encoding="utf-8-sig", newline=ending)
    traces = read_two_columns(path, "arousal")
    np.testing.assert_array_equal(traces.times_s, [0, 0.04, 0.08])
    np.testing.assert_array_equal(traces.values["arousal"], [-0.5, 0.01, np.nan])
    first = 2 if header else 1
    assert list(traces.lines) == [first, first + 1, first + 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,0.1\n0.04,0.1,0.2\n", r"P16.csv, line 2: 3 fields, but must be 2: time, arousal"),
        ("0,0.1\n0.04\n", r"P16.csv, line 2: 1 fields, but must be 2"),
        ("0,0,0,1\n0,04,0,1\n", r"P16.csv, line 1: 4 fields, but must be 2"),
        ("time;gold\n0;0.1\n0,04;0.1\n", r"line 3: time is '0,04', which is not a number; write decimals with a point"),
        ("0;0.1\n0.04;loud\n", r"line 2: arousal is 'loud', which is not a number"),
        ("time;gold\n", r"P16.csv contains no labels"),
        ("", r"P16.csv contains no labels"),
    ],
)
def test_malformed_files(tmp_path, text, message):
    path = tmp_path / "P16.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_two_columns(path, "arousal")


@pytest.mark.parametrize("place", ["recordings_audio", "audio", VIDEO])
def test_audio_may_lie_elsewhere(folder, place):
    shutil.move(folder / AUDIO, folder / place)
    (folder / VIDEO).mkdir(exist_ok=True)
    (folder / VIDEO / "P15.mp4").write_bytes(b"video")
    assert {s.audio for s in read(folder).sources} == {folder / place / f"P{n}.wav" for n in (13, 14, 15, 18, 19)}


def test_audio_in_two_places(folder, refused):
    (folder / "audio").mkdir()
    shutil.copy(folder / AUDIO / "P15.wav", folder / "audio" / "P15.wav")
    assert refused() == "recording P15 has two files, SRC/Audio_recordings/P15.wav and SRC/audio/P15.wav: keep one"


def test_video_alone_is_answered_with_a_command_that_works(folder, refused, tmp_path):
    shutil.move(folder / AUDIO, folder / VIDEO)
    for path in (folder / VIDEO).iterdir():
        path.rename(path.with_suffix(".mp4"))
    message = refused()
    assert message.startswith(
        "5 x video without audio file, such as SRC/Video_recordings_MP4/P13.mp4: audio is not read from mp4"
    )
    command = re.search(r"`(.+)`", message)[1].replace("SRC", str(folder))
    assert 'ffmpeg -n -i "$f" -vn -ac 1 -ar 16000 -c:a pcm_s16le' in command
    stand_in = tmp_path / "bin" / "ffmpeg"  # copies its input, the third argument, to its output, the last
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\nfor last; do :; done\ncp "$3" "$last"\n')
    stand_in.chmod(0o755)
    environment = {**os.environ, "PATH": f"{stand_in.parent}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", command], check=True, env=environment)
    assert [s.audio.relative_to(folder).as_posix() for s in read(folder).sources] == [
        f"{AUDIO}/P{n}.wav" for n in (13, 14, 15, 18, 19)
    ]


def test_some_videos_without_audio(folder, refused):
    (folder / VIDEO).mkdir()
    for name in ("P15", "P18"):
        (folder / VIDEO / f"{name}.mp4").write_bytes(b"video")
    (folder / AUDIO / "P18.wav").unlink()
    assert refused().startswith("1 x video without audio file, such as SRC/Video_recordings_MP4/P18.mp4")


def test_whole_46_are_not_warned_of(folder):
    names = list(paper_split())
    for name in names:
        for kind in (f"{AUDIO}/{{}}.wav", f"{GOLD}/arousal/{{}}.csv", f"{GOLD}/valence/{{}}.csv"):
            if not (folder / kind.format(name)).is_file():
                (folder / kind.format(name)).symlink_to(folder / kind.format("P13"))
    description = read(folder)
    assert description.warnings == ()
    counts = [sum(s.partition == partition for s in description.sources) for partition in ("train", "devel", "test")]
    assert counts == [16, 15, 15]


def test_own_table_wins(folder):
    (folder / "partitions.csv").write_text("name,partition\nP13,train\nP14,devel\n")
    description = read(folder)
    assert [(s.name, s.partition) for s in description.sources] == [("P13", "train"), ("P14", "devel")]
    assert description.warnings == (
        f"recordings that {folder / 'partitions.csv'} does not list are left out: P15, P18, P19",
    )


def test_missing_partners(folder, refused):
    (folder / GOLD / "arousal" / "P15.csv").unlink()
    (folder / AUDIO / "P14.wav").unlink()
    for target in ("arousal", "valence"):
        (folder / GOLD / target / "P18.csv").unlink()
        (folder / GOLD / target / "P13.csv").unlink()  # of test, which may go without
    assert refused().splitlines() == [
        "SRC: 3 mistakes",
        f"  SRC/{GOLD}/arousal/P14.csv needs the audio SRC/{AUDIO}/P14.wav, which is missing: add it, or remove the "
        "recording",
        f"  SRC/{GOLD}/arousal/P15.csv is missing, but SRC/{GOLD}/valence/P15.csv exists: every labelled recording "
        "needs both targets; add the file, or remove the other",
        f"  SRC/{GOLD}/arousal/P18.csv is missing: labels of SRC/{AUDIO}/P18.wav; recordings of train and devel need "
        "labels; add the file, or remove the audio",
    ]


def test_unknown_names(folder, refused):
    shutil.copy(folder / AUDIO / "P15.wav", folder / AUDIO / "P33.wav")
    assert "recording 'P33' is not one of the 46 people whose partition is known (P13, P14, P15, ...)" in refused()
    assert "list all recordings in SRC/partitions.csv" in refused()


def test_wrong_folder(folder, refused):
    shutil.rmtree(folder / AUDIO)
    assert refused() == (
        "SRC is not in the layout recola46: looked for *.wav in one of Audio_recordings/, recordings_audio/, audio/, "
        f"Video_recordings_MP4/, {GOLD}/arousal/*.csv, {GOLD}/valence/*.csv; missing: *.wav in one of "
        f"Audio_recordings/, recordings_audio/, audio/, Video_recordings_MP4/; it contains NOTICE, {GOLD}/"
    )
