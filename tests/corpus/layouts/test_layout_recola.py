"""The full RECOLA: raters by person, dyads from the table of users, partitions from the paper or the user's table."""

import pickle
import shutil

import numpy as np
import pytest
import soundfile

from ser_ray.corpus.layouts.recola import read
from ser_ray.corpus.layouts.recola_files import by_number
from ser_ray.corpus.layouts.recola_split import avec_split, paper_split
from ser_ray.corpus.mimics.people import NOTICE, at_times, person

LAYOUT = "recola"
SECONDS, SEED = 2.0, 6
AUDIO, RATINGS = "RECOLA-Audio-recordings", "RECOLA-Annotation/emotional_behaviour"
USERS = "RECOLA-Metadata/recola_user_info.csv"


def partitions(folder):
    return {s.name: s.partition for s in read(folder).sources}


def test_papers_split_has_46_people_and_agrees_with_avec():
    paper = {name: place.partition for name, place in paper_split().items()}
    numbers = {
        partition: [int(name[1:]) for name, its in paper.items() if its == partition]
        for partition in ("train", "devel", "test")
    }
    assert numbers == {  # as in the authors' repository, tzirakis/Multimodal-Emotion-Recognition
        "train": [15, 16, 17, 18, 21, 23, 25, 37, 39, 41, 46, 50, 51, 55, 56, 60],
        "devel": [14, 19, 24, 26, 28, 30, 34, 40, 42, 43, 44, 45, 52, 64, 65],
        "test": [13, 20, 22, 32, 38, 47, 48, 49, 53, 54, 57, 58, 59, 62, 63],
    }
    avec = avec_split()
    assert sorted(avec.values()) == ["devel"] * 9 + ["test"] * 9 + ["train"] * 9
    assert {name for name, its in avec.items() if its == "train"} == {
        f"P{n}" for n in (16, 21, 23, 25, 37, 39, 41, 46, 56)
    }
    assert {name for name, its in avec.items() if its == "devel"} == {
        f"P{n}" for n in (19, 26, 28, 30, 34, 42, 45, 64, 65)
    }
    assert all(paper[name] == its for name, its in avec.items())


def test_recordings_and_partitions(mimic):
    description = read(mimic)
    found = [(s.name, s.partition, s.speaker, dict(s.extra)) for s in description.sources]
    assert found == [
        ("P16", "train", "P16", {"dyad": "1"}),
        ("P17", "train", "P17", {"dyad": "1"}),
        ("P19", "devel", "P19", {"dyad": "2"}),
        ("P43", "devel", "P43", {"dyad": "3"}),
        ("P48", "test", "P48", {"dyad": "4"}),
    ]
    assert description.alignment == "end"
    assert description.notice == NOTICE
    assert description.warnings == (
        "people who were not in AVEC get the partition of the paper: P17 train, P43 devel, P48 test; for another "
        "split write a table partitions.csv (name, partition)",
    )
    for recording in description.sources:
        assert recording.audio == mimic / AUDIO / f"{recording.name}.wav"
        assert recording.label_files == tuple(
            mimic / RATINGS / target / f"{recording.name}.csv" for target in ("arousal", "valence")
        )


def test_ratings_are_what_was_written(mimic):
    times = np.arange(round(SECONDS * 25) + 1) * 0.04
    for recording in read(mimic).sources:
        labelled = pickle.loads(pickle.dumps(recording.labels))()
        assert labelled.gold == ()
        someone = person(int(recording.name[1:]), SECONDS, SEED)
        for target in ("arousal", "valence"):
            (ratings,) = labelled.ratings[target]
            expected = np.array([at_times(trace, times) for trace in someone.ratings[target].values()]).round(2)
            if (recording.name, target) == ("P19", "arousal"):
                expected[1, 3] = np.nan
            assert list(ratings.values) == ["FM1", "FM2", "FM3", "FF1", "FF2", "FF3"]
            np.testing.assert_array_equal(np.array(list(ratings.values.values())), expected)
            np.testing.assert_allclose(ratings.times_s, times, rtol=0, atol=1e-9)


def test_mimic_has_the_oddities_of_the_layout(mimic):
    ratings = (mimic / RATINGS / "arousal" / "P19.csv").read_text()
    assert ratings.startswith("time;FM1 ;FM2 ;FM3 ;FF1 ;FF2 ;FF3\n0;")
    assert ratings.count("NaN") == 1
    assert (mimic / USERS).read_text().startswith("User;Group_id\n")
    header = soundfile.info(mimic / AUDIO / "P16.wav")
    assert (header.samplerate, header.channels) == (44100, 2)


def test_people_of_avec_alone_bring_no_warning(folder):
    for name in ("P17", "P43", "P48"):
        for file in (f"{AUDIO}/{name}.wav", f"{RATINGS}/arousal/{name}.csv", f"{RATINGS}/valence/{name}.csv"):
            (folder / file).unlink()
    assert partitions(folder) == {"P16": "train", "P19": "devel"}
    assert read(folder).warnings == ()


def test_own_table_wins(folder):
    (folder / "partitions.csv").write_text("name;partition\nP48;dev\nP16;train\nP19;Test\n")
    assert partitions(folder) == {"P48": "devel", "P16": "train", "P19": "test"}
    assert read(folder).warnings == (
        f"recordings that {folder / 'partitions.csv'} does not list are left out: P17, P43",
    )
    (folder / "partitions.csv").write_text("name,partition\nP16,train\nP17,train\nP19,devel\nP43,test\nP48,test\n")
    assert read(folder).warnings == ()


def test_own_table_makes_any_names_legal(folder):
    for file in (f"{AUDIO}/{{}}.wav", f"{RATINGS}/arousal/{{}}.csv", f"{RATINGS}/valence/{{}}.csv"):
        (folder / file.format("P16")).rename(folder / file.format("ana"))
    (folder / "partitions.csv").write_text("name,partition\nana,train\nP19,devel\n")
    assert partitions(folder) == {"ana": "train", "P19": "devel"}


def test_mistakes_in_the_own_table(folder, refused):
    (folder / "partitions.csv").write_text("name,partition\nP16,train\nP99,devel\n")
    assert refused() == (
        "SRC/partitions.csv, line 3 needs the audio SRC/RECOLA-Audio-recordings/P99.wav, which is missing: add it, "
        "or remove the recording"
    )
    (folder / "partitions.csv").write_text("name,partition\nP16,learn\n")
    assert "SRC/partitions.csv, line 2: partition is 'learn', but must be one of train" in refused()


def test_nobody_knows_the_partition(folder, refused):
    shutil.copy(folder / AUDIO / "P16.wav", folder / AUDIO / "P99.wav")
    assert refused() == (
        "SRC: recording 'P99' is not one of the 46 people whose partition is known (P13, P14, P15, ...): list all "
        "recordings in SRC/partitions.csv (columns name and partition), or remove its files"
    )


def test_missing_partners(folder, refused):
    (folder / RATINGS / "valence" / "P16.csv").unlink()
    (folder / AUDIO / "P17.wav").unlink()
    for target in ("arousal", "valence"):
        (folder / RATINGS / target / "P19.csv").unlink()
    message = refused().splitlines()
    assert message == [
        "SRC: 3 mistakes",
        f"  SRC/{RATINGS}/valence/P16.csv is missing, but SRC/{RATINGS}/arousal/P16.csv exists: every labelled "
        "recording needs both targets; add the file, or remove the other",
        f"  SRC/{RATINGS}/arousal/P17.csv needs the audio SRC/{AUDIO}/P17.wav, which is missing: add it, or remove "
        "the recording",
        f"  SRC/{RATINGS}/arousal/P19.csv is missing: labels of SRC/{AUDIO}/P19.wav; recordings of train and devel "
        "need labels; add the file, or remove the audio",
    ]


def test_test_recordings_may_go_without_labels(folder):
    for target in ("arousal", "valence"):
        (folder / RATINGS / target / "P48.csv").unlink()
    last = read(folder).sources[-1]
    assert (last.name, last.labels, last.label_files) == ("P48", None, ())


def test_wrong_folder(folder, refused):
    shutil.move(folder / RATINGS / "arousal", folder / RATINGS / "Arousal")
    message = refused()
    assert "SRC is not in the layout recola: looked for RECOLA-Audio-recordings/*.wav, RECOLA-Annotation/" in message
    assert (
        "missing: RECOLA-Annotation/emotional_behaviour/arousal/*.csv; it contains NOTICE, RECOLA-Annotation/"
        in message
    )


@pytest.mark.parametrize(
    ("text", "extra"),
    [
        ("User;Group_id;Sex\nP16;7;f\n", {"dyad": "7", "sex": "f"}),
        ("USER ; group_ID ;Gender\n16;7;male\n", {"dyad": "7", "sex": "male"}),
        ("User;Age;Group_id;Sex\nP16;22;7;\n", {"dyad": "7"}),
    ],
)
def test_tables_of_users(folder, text, extra):
    (folder / USERS).write_text(text)
    assert read(folder).sources[0].extra == extra


def test_unknown_dyads_are_warned_of(folder):
    (folder / USERS).write_text("User;Group_id\nP17;1\nP19;\nP43;3\nP48;4\n")
    assert f"{folder / USERS} does not give the dyad (Group_id) of P16, P19: leaks" in read(folder).warnings[-1]
    (folder / USERS).unlink()
    assert "of P16, P17, P19, P43, P48" in read(folder).warnings[-1]
    assert read(folder).sources[0].extra == {}


def test_table_of_users_lacks_a_column(folder, refused):
    (folder / USERS).write_text("Name;Group_id\nP16;1\n")
    assert refused() == f"SRC/{USERS} lacks the column User; it has Name, Group_id"


def test_names_are_sorted_by_their_numbers():
    assert sorted(["P100", "P9", "ana", "P16", "dev_10", "dev_9"], key=by_number) == [
        "P9",
        "P16",
        "P100",
        "ana",
        "dev_9",
        "dev_10",
    ]
