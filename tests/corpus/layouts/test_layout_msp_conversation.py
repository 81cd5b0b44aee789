"""The layout `msp_conversation`: parts of conversations, rated by several at irregular times."""

import shutil

import numpy as np
import pytest
from layout_refusals import by_name, edit, labels_of, refusal

from ser_ray.corpus.layouts.msp_conversation import read
from ser_ray.corpus.mimics.msp_conversation import PARTS, PAUSE_S, RATERS, TICK_S
from ser_ray.corpus.mimics.people import NOTICE, at_times, person

LAYOUT = "msp_conversation"
SECONDS, SEED = 5.0, 3
EACH_S = (SECONDS - PAUSE_S) / 2


def test_recordings_are_the_parts_of_the_mimic(mimic):
    description = read(mimic)
    assert (description.alignment, description.label_rate_hz) == ("end", 25.0)
    assert (description.notice, description.warnings) == (NOTICE, ())
    found = {
        name: (source.partition, source.audio.name, source.start_s, source.stop_s)
        for name, source in by_name(description).items()
    }
    wav = "MSP-Conversation_{}.wav".format
    assert found == {
        "MSP-Conversation_0001_1": ("train", wav("0001"), 0, EACH_S),
        "MSP-Conversation_0001_2": ("train", wav("0001"), EACH_S + PAUSE_S, SECONDS),
        "MSP-Conversation_0002_1": ("train", wav("0002"), 0, SECONDS),
        "MSP-Conversation_0047_1": ("devel", wav("0047"), 0, SECONDS),
        "MSP-Conversation_0105_1": ("test", wav("0105"), 0, SECONDS),
    }
    for source in description.sources:
        conversation = source.name.rpartition("_")[0]
        assert source.speaker == conversation
        assert source.extra == {"conversation": conversation}
        assert (source.labels is None) == (source.partition == "test")
        assert len(source.label_files) == (0 if source.labels is None else 8)


@pytest.mark.parametrize("part", ["MSP-Conversation_0001_2", "MSP-Conversation_0047_1"])
def test_ratings_are_those_of_the_mimic(mimic, part):
    source = by_name(read(mimic))[part]
    labelled = labels_of(source)
    assert labelled.gold == ()
    assert set(labelled.ratings) == {"arousal", "valence", "dominance"}
    someone = person(list(PARTS).index(part[17:21]), SECONDS, SEED)
    for folder, raters in RATERS.items():
        files = labelled.ratings[folder.lower()]
        assert [list(traces.values) for traces in files] == [[rater] for rater in raters]
        for place, (rater, traces) in enumerate(zip(raters, files, strict=True), start=1):
            text = (mimic / "Annotations" / folder / f"{part}_{rater}.csv").read_text().splitlines()
            assert traces.lines[0] == (9 if rater == "004" else 10)  # preambles of eight and of nine lines
            assert text[traces.lines[0] - 2] == "%%%%%%,%%%%%%"
            assert traces.lines[-1] == len(text)
            steps = np.diff(traces.times_s)
            assert 0.5 * TICK_S < steps.min() < 0.8 * TICK_S < 1.2 * TICK_S < steps.max()
            targets = ["arousal", "valence"] if folder == "Dominance" else [folder.lower()]
            times = traces.times_s + source.start_s
            said = np.mean([at_times(someone.ratings[target][f"R{place}"], times) for target in targets], axis=0)
            np.testing.assert_allclose(traces.values[rater], said, atol=2e-4)  # stamps have four decimals
    first = labelled.ratings["arousal"][0]
    time, value = text_of_first(mimic, part)
    assert (first.times_s[0], first.values["001"][0]) == (time, value / 100)


def text_of_first(mimic, part):
    line = (mimic / "Annotations" / "Arousal" / f"{part}_001.csv").read_text().splitlines()[9]
    return tuple(map(float, line.split(",")))


def test_conversations_begin_with_their_first_part_where_nothing_else_is_said(folder):
    expected = [(source.start_s, source.stop_s) for source in read(folder).sources]
    (folder / "Time_Labels" / "conversations.txt").unlink()
    (folder / "Time_Labels").rename(folder / "Time Labels")
    assert [(source.start_s, source.stop_s) for source in read(folder).sources] == expected


def test_conversations_may_begin_before_their_first_part(folder):
    edit(folder / "Time_Labels" / "conversations.txt", 1, "MSP-Conversation_0001;11.5;20")
    assert by_name(read(folder))["MSP-Conversation_0001_1"].start_s == 1


def test_a_table_of_ones_own(folder):
    (folder / "partitions.txt").unlink()
    (folder / "partitions.csv").write_text(
        "name,partition,speaker\nMSP-Conversation_0001,train,a\nMSP-Conversation_0001_2,devel,b\n"
        "MSP-Conversation_0002,train,\nMSP-Conversation_0047,Development,d\nMSP-Conversation_0105,test,e\n"
    )
    assert [(s.partition, s.speaker) for s in read(folder).sources] == [
        ("train", "a"),
        ("devel", "b"),
        ("train", "MSP-Conversation_0002"),
        ("devel", "d"),
        ("test", "e"),
    ]


def test_ratings_of_unknown_parts_are_named_in_a_warning(folder):
    arousal = folder / "Annotations" / "Arousal"
    shutil.copy(arousal / "MSP-Conversation_0002_1_001.csv", arousal / "MSP-Conversation_0002_9_001.csv")
    (warning,) = read(folder).warnings
    assert warning.endswith("does not list are left out: MSP-Conversation_0002_9")


def test_another_layout(tmp_path, folder):
    (tmp_path / "Audio").mkdir()
    assert refusal(lambda: read(tmp_path / "Audio"), tmp_path) == (
        "SRC/Audio is not in the layout msp_conversation: looked for Audio/, Annotations/, "
        "Time_Labels/conversation_parts.txt, partitions.txt (lines such as MSP-Conversation_0047;Train); missing: "
        "Audio/ and Annotations/ and Time_Labels/conversation_parts.txt and partitions.txt (lines such as "
        "MSP-Conversation_0047;Train); it is empty"
    )
    (folder / "partitions.txt").unlink()
    assert "missing: partitions.txt (lines such as" in refusal(lambda: read(folder), folder)
    shutil.rmtree(folder / "Annotations")
    (folder / "Annotations" / "Arousal").mkdir(parents=True)
    (folder / "partitions.txt").write_text("MSP-Conversation_0001;Train\n")
    assert refusal(lambda: read(folder), folder) == (
        "SRC/Annotations has no file named like Arousal/MSP-Conversation_0047_2_001.csv (conversation, part, rater); "
        "it contains Arousal/"
    )


def test_missing_partners_are_named_all_at_once(folder):
    (folder / "Audio" / "MSP-Conversation_0002.wav").unlink()
    for path in folder.glob("Annotations/*/MSP-Conversation_0047_1_*.csv"):
        path.unlink()
    edit(folder / "partitions.txt", 4, "")
    message = refusal(lambda: read(folder), folder)
    assert "SRC: 3 mistakes" in message
    assert "SRC/Audio/MSP-Conversation_0002.wav is missing: audio of the part MSP-Conversation_0002_1" in message
    assert (
        "no rater has rated MSP-Conversation_0047_1, which is in partition devel: looked for Annotations/*/" in message
    )
    assert (
        "SRC/partitions.txt has no line for MSP-Conversation_0105: add one, such as MSP-Conversation_0105;Train"
        in message
    )


def test_malformed_times_name_the_line(folder):
    times = folder / "Time_Labels"
    edit(times / "conversation_parts.txt", 2, "MSP-Conversation_0001_2;30;20")
    edit(times / "conversations.txt", 1, "MSP-Conversation_0001;12,5;20")
    edit(times / "conversations.txt", 2, "MSP-Conversation_0002;0")
    message = refusal(lambda: read(folder), folder)
    assert "SRC/Time_Labels/conversation_parts.txt, line 2: from 30 to 20 s, but must end after it begins" in message
    assert "SRC/Time_Labels/conversations.txt, line 1: time is '12,5', which is not a number" in message
    assert "SRC/Time_Labels/conversations.txt, line 2: 2 fields, but must be 3: name;start;end" in message


@pytest.mark.parametrize(
    ("line", "text", "said"),
    [
        (15, "0.2,0,7", "line 15: 3 fields, but must be 2: time, value; correct the line, or remove the file"),
        (12, "0.1;3", "line 12: 1 fields, but must be 2: time, value; correct the line, or remove the file"),
        (11, "0.1,high", "line 11: value is 'high', which is not a number"),
        (
            13,
            "0.1,-100.5",
            "line 13: value is -100.5, but must be between -100 and 100; correct the line, or remove the file",
        ),
    ],
)
def test_a_malformed_file_of_a_rater_names_the_line(folder, line, text, said):
    path = folder / "Annotations" / "Dominance" / "MSP-Conversation_0047_1_001.csv"
    edit(path, line, text)
    message = refusal(by_name(read(folder))["MSP-Conversation_0047_1"].labels, folder)
    assert message.startswith(f"SRC/Annotations/Dominance/MSP-Conversation_0047_1_001.csv, {said}")


def test_a_file_with_a_preamble_alone(folder):
    path = folder / "Annotations" / "Dominance" / "MSP-Conversation_0047_1_001.csv"
    path.write_text("Time of Rating,x\n%%%%%%,%%%%%%\n")
    message = refusal(by_name(read(folder))["MSP-Conversation_0047_1"].labels, folder)
    assert message.endswith("_001.csv contains no labels: it needs lines with time, value")
