"""The layout `semaine`: sessions of users, their mean label and what single raters said."""

import shutil

import numpy as np
import pytest
from layout_refusals import by_name, edit, labels_of, refusal

from ser_ray.corpus.layouts.semaine import read
from ser_ray.corpus.mimics.people import NOTICE, at_times, person
from ser_ray.corpus.mimics.semaine import RATERS, SESSIONS

LAYOUT = "semaine"
SECONDS, SEED = 3.0, 3


def test_recordings_are_those_of_the_mimic(mimic):
    description = read(mimic)
    assert (description.alignment, description.label_rate_hz, description.notice) == ("end", None, NOTICE)
    assert description.warnings == (f"sessions that {mimic / 'partitions.csv'} does not list are left out: 31",)
    assert [(s.name, s.partition, s.speaker, s.extra["character"]) for s in description.sources] == [
        ("3", "train", "user_of_recording_1", "Poppy"),
        ("4", "train", "user_of_recording_1", "Spike"),
        ("10", "devel", "user_of_recording_3", "Obadiah"),
        ("25", "test", "user_of_recording_5", "Prudence"),
    ]
    for source in description.sources:
        assert source.audio.parent == mimic / "Sessions" / source.name
        assert "_User HeadMounted_" in source.audio.name
        assert (source.start_s, source.stop_s) == (0, None)
        assert (source.labels is None) == (source.name == "25")


@pytest.mark.parametrize("session", ["3", "10"])
def test_labels_are_those_of_the_mimic(mimic, session):
    labelled = labels_of(by_name(read(mimic))[session])
    someone = person(list(SESSIONS).index(session), SECONDS, SEED)
    (gold,) = labelled.gold
    times = np.arange(1, 151) / 50
    np.testing.assert_allclose(gold.times_s, times)
    assert set(gold.values) == {"arousal", "valence"} == set(labelled.ratings)
    for target in gold.values:
        np.testing.assert_allclose(gold.values[target], at_times(someone.gold(target), times), atol=5.1e-4)
        files = labelled.ratings[target]
        assert [list(traces.values) for traces in files] == [[rater] for rater in RATERS]
        assert [traces.rows for traces in files] == [150, 145, 140]
        for place, traces in enumerate(files, start=1):
            said = at_times(someone.ratings[target][f"R{place}"], times)[: traces.rows]
            np.testing.assert_allclose(*traces.values.values(), said, atol=5.1e-5)
            np.testing.assert_allclose(traces.times_s, times[: traces.rows])
            assert "TU" in traces.path.stem  # TO is the operator


def test_without_means_gold_is_left_to_the_raters(folder):
    shutil.rmtree(folder / "TrainingInput")
    (folder / "Sessions").rename(folder / "sessions")
    description = read(folder)
    assert description.label_rate_hz == 50.0  # raters stop at different times
    labelled = labels_of(by_name(description)["3"])
    assert labelled.gold == ()
    assert set(labelled.ratings) == {"arousal", "valence"}


def test_without_raters_there_is_the_mean_alone(folder):
    for path in (folder / "Sessions").glob("*/*.txt"):
        path.unlink()
    labelled = labels_of(by_name(read(folder))["3"])
    assert len(labelled.gold) == 1
    assert not labelled.ratings


def test_a_table_may_name_users_and_sessions_need_no_xml(folder):
    (folder / "partitions.csv").write_text("session;partition;speaker\n3;train;\n4;train;ann\n10;devel;bob\n")
    (folder / "Sessions" / "3" / "session.xml").unlink()
    sources = by_name(read(folder))
    assert {name: source.speaker for name, source in sources.items()} == {"3": "3", "4": "ann", "10": "bob"}
    assert sources["3"].extra == {}


def test_a_rater_who_rated_again_is_another_column(folder):
    session = folder / "Sessions" / "3"
    shutil.copy(session / "R1S1TUCPoDA.txt", session / "R1S1TUCPo2DA.txt")
    (folder / "Sessions" / "3" / "R1S1TUCPoDI.txt").write_text("nobody reads this\n")
    ratings = labels_of(by_name(read(folder))["3"]).ratings
    assert [next(iter(traces.values)) for traces in ratings["arousal"]] == ["R1_2", "R1", "R4", "R5"]


def test_what_is_said_of_the_operator_is_no_label(folder):
    shutil.rmtree(folder / "TrainingInput")
    for path in (folder / "Sessions").glob("4/*TU*.txt"):
        path.unlink()
    assert len(list((folder / "Sessions").glob("4/*TO*.txt"))) == 6
    assert "labels of session 4, which is in partition train" in refusal(lambda: read(folder), folder)


def test_another_layout(tmp_path):
    assert refusal(lambda: read(tmp_path), tmp_path) == (
        "SRC is not in the layout semaine: looked for sessions/ (or Sessions/); missing: sessions/ (or Sessions/); it "
        "is empty"
    )


def test_partitions_are_asked_for(folder):
    (folder / "partitions.csv").unlink()
    assert refusal(lambda: read(folder), folder) == (
        "SRC/partitions.csv is missing: SEMAINE has no partitions of its own. Write it with the header "
        "name,partition,speaker and a line per session, such as 3,train,user_1; partition is train, devel or test, "
        "and no user should be in two of them. There are 5 sessions: 3, 4, 10, 25, 31"
    )


def test_missing_partners_are_named_all_at_once(folder):
    sessions = folder / "Sessions"
    next((sessions / "3").glob("*User HeadMounted*.wav")).unlink()
    (folder / "TrainingInput" / "10" / "TU_VA.csv").unlink()
    for path in (sessions / "10").glob("*.txt"):
        path.unlink()
    (folder / "partitions.csv").write_text("name,partition\n3,train\n10,devel\n77,test\n")
    message = refusal(lambda: read(folder), folder)
    assert "SRC: 3 mistakes" in message
    assert "SRC/Sessions/3 has 0 files *User HeadMounted*.wav, but must have one, the audio of the user" in message
    assert (
        "SRC/TrainingInput/10/TU_VA.csv is missing, and SRC/Sessions/10 has no ratings such as R1S1TUCPoDA.txt: "
        "labels of session 10, which is in partition devel" in message
    )
    assert "SRC/partitions.csv, line 4: session 77 has no folder SRC/Sessions/77" in message


def test_malformed_files_name_the_line(folder):
    path = folder / "Sessions" / "3" / "R4S1TUCPoDV.txt"
    edit(path, 5, "0.1 x")
    read_labels = by_name(read(folder))["3"].labels
    assert refusal(read_labels, folder) == (
        "SRC/Sessions/3/R4S1TUCPoDV.txt, line 5: value is 'x', which is not a number"
    )
    edit(folder / "TrainingInput" / "3" / "TU_VA.csv", 2, "0.02,0.1")
    assert refusal(read_labels, folder).startswith("SRC/TrainingInput/3/TU_VA.csv, line 2: 2 fields, but the header")
    (folder / "Sessions" / "4" / "session.xml").write_text("<session")
    assert "SRC/Sessions/4/session.xml is not valid XML" in refusal(lambda: read(folder), folder)
