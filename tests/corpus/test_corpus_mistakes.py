"""Whatever is wrong with a user's data is refused with a message that says where, what and how to mend it."""

import re
import shutil

import numpy as np
import pytest
from corpus_cases import noise

from ser_ray.corpus import open_corpus
from ser_ray.corpus.importing.ingest import ImportConfig, import_corpus
from ser_ray.corpus.layouts import LAYOUTS
from ser_ray.errors import InputError


@pytest.fixture
def refusal(table_source, tmp_path):
    """Import, and return the message of the refusal."""

    def of(**options):
        layout = options.pop("layout", "table")
        with pytest.raises(InputError) as caught:
            import_corpus(layout, table_source.folder, tmp_path / "out", ImportConfig(**options))
        left = sorted(path.name for path in tmp_path.iterdir() if path != table_source.folder)
        message, _, kept = str(caught.value).replace(str(table_source.folder), "SRC").partition("\n1 of 4 recordings ")
        # nothing that looks whole; what was written is kept, and said to be, for the next try
        assert left == ([".out.partial"] if kept else [])
        shutil.rmtree(tmp_path / ".out.partial", ignore_errors=True)
        return message

    return of


def test_unknown_layout(refusal):
    assert refusal(layout="recola2") == f"layout is 'recola2', but must be one of auto, {', '.join(LAYOUTS)}"


def test_no_table(table_source, refusal):
    (table_source.folder / "recordings.csv").unlink()
    message = refusal()
    assert "looked for recordings.csv and partitions.csv" in message
    assert "it contains audio/, labels/, raters/" in message
    shutil.rmtree(table_source.folder)
    assert "it does not exist" in refusal()
    table_source.folder.mkdir()
    assert "it is empty" in refusal()


def test_table_lacks_columns(table_source, refusal):
    table_source.table(["a,train"], "recording,split")
    assert refusal() == "SRC/recordings.csv lacks the column name and partition; it has recording, split"


def test_table_is_malformed(table_source, refusal):
    table_source.table(["a,train,S,x"])
    assert "SRC/recordings.csv, line 2: 4 fields, but the header has 3" in refusal()
    table_source.table([], "name,name")
    assert "has two columns 'name'" in refusal()
    (table_source.folder / "recordings.csv").write_bytes(b"")
    assert "SRC/recordings.csv is empty" in refusal()
    (table_source.folder / "recordings.csv").write_bytes(b"name,partition\n\xff\xfe,train")
    assert "SRC/recordings.csv is not a text table in UTF-8" in refusal()


def test_several_mistakes_are_shown_at_once(table_source, refusal):
    names = [f"n{i}" for i in range(7)]
    table_source.table([f"{name},train,S" for name in names])
    lines = refusal().splitlines()
    assert lines[0] == "SRC: 7 mistakes"
    assert lines[1] == "  SRC/audio/n0.* is missing: audio of recording n0 (wav, flac, ogg, mp3, ...)"
    assert [line.split(".*")[0] for line in lines[1:6]] == [f"  SRC/audio/{name}" for name in names[:5]]
    assert lines[6:] == ["  and 2 more"]


def test_missing_audio(table_source, refusal):
    (table_source.folder / "audio" / "b.wav").unlink()
    assert refusal() == "SRC/audio/b.* is missing: audio of recording b (wav, flac, ogg, mp3, ...)"
    (table_source.folder / "audio" / "b.m4a").write_bytes(b"")
    assert refusal() == "SRC/audio/b.m4a: this format is not supported; convert it to wav or flac"


def test_two_audio_files_of_one_recording(table_source, refusal):
    shutil.copy(table_source.folder / "audio" / "b.wav", table_source.folder / "audio" / "b.flac")
    assert refusal() == "audio of b is ambiguous: SRC/audio/b.flac and SRC/audio/b.wav; keep one"


def test_unreadable_audio(table_source, refusal):
    (table_source.folder / "audio" / "b.wav").write_bytes(b"RIFF, or something like it")
    assert re.match(r"SRC/audio/b.wav cannot be read as audio \(.+\)", refusal())


def test_audio_of_zero_length(table_source, refusal):
    table_source.audio("b", noise(0))
    assert refusal() == "SRC/audio/b.wav has zero length: it contains no samples"


def test_silent_audio(table_source, refusal):
    table_source.audio("b", np.zeros(32000, np.int16))
    assert refusal() == "recording b is silent: all its samples are 0"


def test_audio_shorter_than_a_frame(table_source, refusal):
    table_source.audio("b", noise(600))
    assert "recording b has 600 samples: less than one frame of 640" in refusal()


def test_partition_names(table_source, refusal):
    table_source.table(["a,train,S", "b,evaluation,S", "c,devel,S", "d,test,S"])
    message = refusal()
    assert message.startswith("SRC/recordings.csv, line 3: partition is 'evaluation', but must be one of train, ")
    assert message.endswith("dev, devel, valid, validation, development, test")


@pytest.mark.parametrize(
    ("partitions", "message"),
    [
        (("devel", "devel"), "SRC has no train recordings (0 train, 3 devel, 1 test): training needs train and devel"),
        (("train", "train"), None),
    ],
)
def test_partitions_without_recordings(table_source, refusal, partitions, message):
    rows = [f"{name},{partition},S" for name, partition in zip("ab", partitions, strict=True)]
    last = ["c,devel,S", "d,test,S"] if message else ["c,train,S", "d,test,S"]
    table_source.table([*rows, *last])
    assert (message or "SRC has no devel recordings (3 train, 0 devel, 1 test)") in refusal()


def test_no_test_recordings_is_a_warning(table_source, tmp_path):
    table_source.table(["a,train,S", "b,train,S", "c,devel,S"])
    made = import_corpus("table", table_source.folder, tmp_path / "out")
    assert made.warnings == ("there are no test recordings: scores will be only for devel",)


def test_two_recordings_of_one_name(table_source, refusal):
    table_source.table(["a,train,S", "b,train,S", "c,devel,S", "a,test,S"])
    assert refusal() == ("SRC/recordings.csv, line 5: recording 'a' is already in line 2; a name must be unique")


@pytest.mark.parametrize("name", ["", "x/a", "..\\a"])
def test_names_that_are_none(table_source, refusal, name):
    table_source.table([f"{name},train,S"])
    assert f"line 2: name is {name!r}, but must be a file name" in refusal()


@pytest.mark.parametrize(("name", "partition"), [("b", "train"), ("c", "devel")])
def test_recordings_without_labels(table_source, refusal, name, partition):
    (table_source.folder / "labels" / f"{name}.csv").unlink()
    assert f"{partition} recording {name} has no labels: training needs those of train and devel" in refusal()


def test_no_labels_at_all(table_source, refusal):
    shutil.rmtree(table_source.folder / "labels")
    assert "no recording has labels: nothing to train on" in refusal()


def _without_row(times, values):
    return np.delete(times, 20), np.delete(values, 20, axis=0)


def _repeated(times, values):
    times[20] = times[19]
    return times, values


def _descending(times, values):
    times[20] = times[18] + 0.001
    return times, values


def _uneven(times, values):
    times[20:] -= 0.025
    return times, values


def _drifting(times, values):
    return times + 0.03 * np.sin(np.linspace(0, 2 * np.pi, times.size)), values


def _late(times, values):
    return times + 0.02, values


def _time_missing(times, values):
    times[20] = np.nan
    return times, values


def _one_row(times, values):
    return times[:1], values[:1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_row, "SRC/labels/b.csv, line 22: time 0.84 s after 0.76 s, a gap in time: fill in the missing rows"),
        (_repeated, "SRC/labels/b.csv, line 22: time 0.76 s after 0.76 s, the same time as the row before"),
        (_descending, "SRC/labels/b.csv, line 22: time 0.721 s after 0.76 s, a time before that of the row before"),
        (_uneven, "SRC/labels/b.csv, line 22: time 0.775 s after 0.76 s, irregular times: space the rows evenly"),
        (_drifting, "irregular times: evenly spaced rows would have"),
        (
            _late,
            "SRC/labels/b.csv, line 2: the first time is 0.02 s, but must be 0, or 0.04 where time stamps mark the end",
        ),
        (_time_missing, "SRC/labels/b.csv, line 22: time is nan, but must be a finite number of seconds"),
        (_one_row, "SRC/labels/b.csv has 1 row, but the rate can only be determined from at least 2"),
    ],
)
def test_times(table_source, refusal, spoil, message):
    table_source.labels("b", *spoil(*table_source.traces()))
    assert message in refusal()


def test_a_rate_of_its_own(table_source, refusal):
    times = np.arange(21) / 10
    table_source.labels("b", times, np.zeros((21, 2)))
    assert refusal() == (
        "SRC/labels/b.csv has 10 labels per second, but SRC/labels/a.csv has 25: all recordings of a corpus must "
        "have the same rate; resample them with --label-rate HZ"
    )


def test_a_rate_that_does_not_fit(table_source, refusal):
    table_source.labels("b", np.arange(61) / 30, np.zeros((61, 2)))
    message = refusal()
    assert message.startswith("SRC/labels/b.csv: label rate is 30 Hz, which is not a whole number of samples per frame")
    assert "30.0188 Hz (533 samples) or 29.9625 Hz (534 samples)" in message


def test_too_few_rows(table_source, refusal):
    times, values = table_source.traces()
    table_source.labels("b", times[:24], values[:24])
    assert refusal() == (
        "recording b has too few label rows: those of SRC/labels/b.csv, 24 at 25 Hz, end after 0.96 s, but "
        "SRC/audio/b.wav lasts 2.00 s; cut the audio or add rows"
    )


def test_labels_far_beyond_the_audio_are_a_warning(table_source, tmp_path):
    table_source.audio("b", noise(12800))
    made = import_corpus("table", table_source.folder, tmp_path / "out")
    (warning,) = made.warnings
    assert warning.startswith("labels of b end at 2.04 s, but ")
    assert warning.endswith("b.wav ends at 0.80 s: later labels are dropped")


@pytest.mark.parametrize("text", ["nan", ""])
def test_labels_that_are_missing(table_source, refusal, text):
    rows = [f"{i / 25:.2f},0.5,{text if i in (7, 9) else 0.5}" for i in range(51)]
    table_source.label_text("b", "\n".join(["time,arousal,valence", *rows]))
    message = refusal()
    assert message.startswith("SRC/labels/b.csv, line 9: valence is nan at 0.28 s (2 such rows): every frame needs a")
    assert "remove the file" in message


def test_frames_that_no_rater_rates(table_source, refusal):
    times, values = table_source.traces()
    values[3] = np.nan
    raters = {f"{target}_R{n}": values[:, n] for target in ("arousal", "valence") for n in (0, 1)}
    for name in table_source.partitions:
        table_source.raters(name, times, **raters)
    message = refusal(gold="ewe")
    assert message.startswith("SRC: 4 mistakes")
    assert "SRC/raters/a.csv: arousal: " in message
    assert "frame 3" in message


def test_a_rater_that_is_silent_for_a_while_is_told(table_source, tmp_path):
    times, values = table_source.traces()
    values[3, 0] = np.nan
    table_source.raters("b", times, arousal_R1=values[:, 0], arousal_R2=values[:, 1])
    made = import_corpus("table", table_source.folder, tmp_path / "out")
    assert made.warnings == ("R1 rated only a part of b: up to 1 of 51 frames lack their ratings",)


@pytest.mark.parametrize(
    ("separator", "hint"),
    [
        (";", "write decimals with a point, not a comma"),
        (",", "3 fields, but the header has 2 (decimals written with a comma?"),
    ],
)
def test_decimal_commas(table_source, refusal, separator, hint):
    rows = [f"{i / 25:.2f}{separator}0,5" for i in range(51)]
    table_source.label_text("b", "\n".join([f"time{separator}arousal", *rows]))
    message = refusal()
    assert message.startswith("SRC/labels/b.csv, line 2: ")
    assert hint in message


def test_a_word_among_numbers(table_source, refusal):
    rows = [f"{i / 25:.2f},{'high' if i == 4 else 0.5}" for i in range(51)]
    table_source.label_text("b", "\n".join(["time,arousal", *rows]))
    assert refusal() == "SRC/labels/b.csv, line 6: arousal is 'high', which is not a number"


def test_label_files_without_time_or_rows(table_source, refusal):
    table_source.label_text("b", "frame,arousal\n0,0.5")
    assert refusal() == "SRC/labels/b.csv has no column time (in seconds), only frame, arousal"
    table_source.label_text("b", "time,arousal")
    assert refusal() == "SRC/labels/b.csv has a header, but no rows"


def _only(table_source, name, column):
    rows = [f"{i / 25:.2f},0.5" for i in range(51)]
    table_source.label_text(name, "\n".join([f"time,{column}", *rows]))


def test_targets_that_are_missing(table_source, refusal, tmp_path):
    _only(table_source, "b", "arousal")
    assert refusal(targets=["valence"]) == (
        "target 'valence' is missing for 1 of 4 labelled recordings, such as b; columns found: arousal, valence"
    )
    made = import_corpus("table", table_source.folder, tmp_path.parent / f"{tmp_path.name}-arousal")
    assert made.warnings == ("valence is left out: 1 of 4 labelled recordings lack it, such as b",)
    _only(table_source, "a", "liking")
    assert "no target: neither arousal nor valence is labelled in all 4 labelled recordings" in refusal()


def test_gold_of_raters_that_are_missing(table_source, refusal):
    message = refusal(gold="ewe")
    assert message.startswith("SRC: 4 mistakes")
    assert "recording a has no raters' traces, which gold standard ewe is computed from" in message
    assert refusal(gold="best") == "gold standard is 'best', but must be one of mean, ewe, ccc_centred"


def test_raters_without_names(table_source, refusal):
    times, values = table_source.traces()
    table_source.raters("b", times, arousal=values[:, 0])
    assert "SRC/raters/b.csv has the columns arousal, but a rater's column is named TARGET_RATER" in refusal()


def test_a_place_that_is_taken(table_source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="out exists and is not empty"):
        import_corpus("table", table_source.folder, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("separator", [",", ";"])
def test_comment_lines_above_a_header_are_left_out(table_source, tmp_path, separator):
    times, values = table_source.traces(1)
    rows = [separator.join(("time", "arousal", "valence"))]
    rows += [separator.join(f"{value:.4f}" for value in (time, *row)) for time, row in zip(times, values, strict=True)]
    plain = open_corpus(import_corpus("table", table_source.folder, tmp_path / "plain").path)
    table_source.label_text("b", "\n".join(["# made, by; a tool", "#", *rows]))
    made = open_corpus(import_corpus("table", table_source.folder, tmp_path / "out").path)
    assert made.fingerprint == plain.fingerprint


def test_lines_are_counted_with_the_comments(table_source, refusal):
    table_source.label_text("b", "# made by a tool\n# in 2020\ntime,arousal,valence\n0,0.1,0.2\n0.04,0.1")
    assert refusal().startswith("SRC/labels/b.csv, line 5: 2 fields, but the header has 3")
