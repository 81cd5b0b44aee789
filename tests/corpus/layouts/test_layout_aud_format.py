"""The layout `audformat`: databases as their own library writes them."""

import pickle
import shutil
import sys

import numpy as np
import pytest
from layout_refusals import by_name, labels_of, refusal

from ser_ray.corpus.layouts.aud_format import read
from ser_ray.corpus.layouts.aud_format_tables import others_deprecations
from ser_ray.corpus.mimics.aud_format import FILES, frames_of, write
from ser_ray.corpus.mimics.people import NOTICE, person

audformat = pytest.importorskip("audformat")

LAYOUT = "audformat"
SECONDS, SEED = 3.0, 3
TARGETS = ("arousal", "valence")


@pytest.fixture
def changed(folder):
    """Returns a function that changes the database on disk."""

    def change(how, storage="csv"):
        with others_deprecations():
            database = audformat.Database.load(str(folder), load_data=True)
            how(database)
            for path in folder.glob("db.*"):
                path.unlink()
            database.save(str(folder), storage_format=storage)
        return folder

    return change


def test_recordings_are_those_of_the_mimic(mimic):
    description = read(mimic)
    assert (description.alignment, description.label_rate_hz) == ("start", None)
    assert (description.notice, description.warnings) == (NOTICE, ())
    found = {
        name: (s.partition, s.speaker, s.extra["sex"], s.audio, s.start_s, s.stop_s, s.labels is None)
        for name, s in by_name(description).items()
    }
    audio = mimic / "audio"
    assert found == {
        "a 1": ("train", "anna", "f", audio / "a 1.wav", 0, pytest.approx(3.0), False),
        "a 2_1": ("train", "bert", "m", audio / "a 2.wav", 0, pytest.approx(1.48), False),
        "a 2_2": ("train", "bert", "m", audio / "a 2.wav", 1.68, pytest.approx(3.0), False),
        "b 1": ("devel", "cleo", "f", audio / "b 1.wav", 0, pytest.approx(3.0), False),
        "c 1": ("test", "dora", "f", audio / "c 1.wav", 0, pytest.approx(3.0), True),
    }


@pytest.mark.parametrize("storage", ["csv", "parquet"])
def test_labels_are_those_of_the_mimic(changed, storage):
    folder = changed(lambda database: None, storage)
    sources = by_name(read(folder))
    for number, file in enumerate(FILES):
        someone = person(number, SECONDS, SEED)
        of_file = [source for source in sources.values() if source.audio == folder / file and source.labels]
        frames = frames_of(file, someone)
        for source in of_file:
            labelled = labels_of(source)
            assert source.label_files == (folder / f"db.emotion.{FILES[file][0]}.{storage}",)
            times = np.round((frames * 0.04)[(frames * 0.04 >= source.start_s) & (frames * 0.04 < source.stop_s)], 9)
            rows = np.rint(times / 0.04).astype(int)
            if FILES[file][0] == "train":
                (gold,) = labelled.gold
                np.testing.assert_allclose(gold.times_s, times - source.start_s, atol=1e-9)
                for target in TARGETS:
                    np.testing.assert_allclose(gold.values[target], someone.gold(target)[rows].round(4), atol=1e-12)
            else:
                assert labelled.gold == ()
            for target in TARGETS:
                (traces,) = labelled.ratings[target]
                assert set(traces.values) == {"R1", "R2", "R3"}
                for rater, values in traces.values.items():
                    np.testing.assert_allclose(values, someone.ratings[target][rater][rows], atol=1e-12)


def test_partitions_may_stand_in_another_table_or_a_column(changed):
    def without_splits(database):
        for split in ("train", "dev", "test"):
            database[f"emotion.{split}"].split_id = None
        database["files"].split_id = "train"
        database["all"] = audformat.Table(audformat.filewise_index(list(FILES)))
        database["all"]["split"] = audformat.Column()
        database["all"]["split"].set(["test", "dev", "dev", "test"])

    assert {s.partition for s in read(changed(without_splits)).sources} == {"train"}

    def by_column(database):
        database["files"].split_id = None

    folder = changed(by_column)
    found = {s.audio.stem: s.partition for s in read(folder).sources}
    assert found == {"a 1": "test", "a 2": "devel", "b 1": "devel", "c 1": "test"}

    def nowhere(database):
        database.drop_tables("all")

    message = refusal(lambda: read(changed(nowhere)), folder)
    assert "SRC: the partition of audio/a 1.wav is unknown: give table emotion.train a split of" in message

    def unknown(database):
        database["files"]["partition"] = audformat.Column()
        database["files"]["partition"].set(["train", "fold1", "dev", "test"])

    message = refusal(lambda: read(changed(unknown)), folder)
    assert message.startswith("SRC: audio/a 2.wav: partition is 'fold1', but must be one of train")


def test_targets_may_stand_in_tables_of_their_own(changed):
    def apart(database):
        frame = database["emotion.train"].get()
        kept = frame.index[10:]
        database["valence.train"] = audformat.Table(kept, split_id="train")
        database["valence.train"]["valence"] = audformat.Column(scheme_id="valence")
        database["valence.train"]["valence"].set(frame["valence"].iloc[10:])
        for column in [name for name in frame if name.startswith("valence")]:
            database["emotion.train"].drop_columns(column, inplace=True)

    source = by_name(read(changed(apart)))["a 1"]
    assert source.start_s == pytest.approx(0.4)
    labelled = labels_of(source)
    assert [list(traces.values) for traces in labelled.gold] == [["arousal"], ["valence"]]
    assert {traces.times_s[0] for traces in labelled.gold} == {0}
    assert {traces.path.name for traces in labelled.gold} == {"db.emotion.train.csv", "db.valence.train.csv"}


def test_silent_raters_leave_no_gap_in_gold(changed):
    def silent(database):
        for split, rows in (("train", slice(5, 20)), ("dev", slice(20, 30))):
            frame = database[f"emotion.{split}"].get()
            for rater in ("R1", "R2", "R3"):
                values = frame[f"arousal.{rater}"].copy()
                values.iloc[rows] = np.nan
                database[f"emotion.{split}"][f"arousal.{rater}"].set(values.to_numpy())

    sources = by_name(read(changed(silent)))
    assert {name.partition("_")[0]: sum(other.startswith(name[:3]) for other in sources) for name in sources} == {
        "a 1": 1,
        "a 2": 2,
        "b 1": 2,  # which has no gold but the raters'
        "c 1": 1,
    }
    assert np.isnan(labels_of(sources["a 1"]).ratings["arousal"][0].values["R1"][5:20]).all()


def test_bounds_of_a_file_need_not_be_given(changed):
    def unbounded(database):
        index = audformat.segmented_index(["audio/b 1.wav"] * 3, [None, 1.0, 2.0], [1.0, 2.0, None])
        database["emotion.dev"] = audformat.Table(index, split_id="dev")
        database["emotion.dev"]["arousal"] = audformat.Column(scheme_id="arousal")
        database["emotion.dev"]["arousal"].set([0.1, 0.2, 0.3])

    source = by_name(read(changed(unbounded)))["b 1"]
    assert (source.start_s, source.stop_s) == (0, 3)
    assert labels_of(source).gold[0].values["arousal"].tolist() == [0.1, 0.2, 0.3]


def test_speakers_need_not_be_known(changed):
    def nobody(database):
        database.drop_tables("files")

    sources = by_name(read(changed(nobody)))
    assert {(s.name, s.speaker, tuple(s.extra)) for s in sources.values()} == {
        (name, name.partition("_")[0], ()) for name in ("a 1", "a 2_1", "a 2_2", "b 1", "c 1")
    }


def test_the_licence_is_the_notice_where_there_is_no_other(changed):
    def licensed(database):
        database.license = "CC0-1.0"

    folder = changed(licensed)
    (folder / "NOTICE").unlink()
    assert read(folder).notice == "CC0-1.0"


def test_files_of_one_name_in_two_folders(changed, folder):
    def moved(database):
        database.map_files(lambda file: file.replace("audio/b 1", "dev/a 1"))

    (folder / "dev").mkdir()
    shutil.copy(folder / "audio" / "b 1.wav", folder / "dev" / "a 1.wav")
    names = {source.name for source in read(changed(moved)).sources}
    assert names == {"audio_a 1", "audio_a 2_1", "audio_a 2_2", "audio_c 1", "dev_a 1"}


def test_another_layout(tmp_path):
    assert refusal(lambda: read(tmp_path), tmp_path) == (
        "SRC is not in the layout audformat: looked for db.yaml; missing: db.yaml; it is empty"
    )
    (tmp_path / "db.yaml").write_text("name: [")
    assert refusal(lambda: read(tmp_path), tmp_path).startswith("SRC/db.yaml cannot be read by audformat: ")
    (tmp_path / "db.yaml").write_text("usage: other\n")
    assert refusal(lambda: read(tmp_path), tmp_path).startswith("SRC/db.yaml cannot be read by audformat: ")


def test_the_library_is_asked_for(mimic, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "audformat", None)
    assert refusal(lambda: read(mimic), mimic) == (
        "SRC is a database in audformat, for which audformat is not installed: pip install 'ser-ray[audformat]'"
    )
    assert refusal(lambda: write(tmp_path, 1.0, 0), tmp_path).endswith("pip install 'ser-ray[audformat]'")


def test_one_label_per_file_is_refused(changed, folder):
    def filewise(database):
        database.drop_tables([f"emotion.{split}" for split in ("train", "dev", "test")])

    assert refusal(lambda: read(changed(filewise)), folder) == (
        "SRC: table files has one label per file (arousal): ser_ray trains on labels over time, which must be in a "
        "segmented table with a row per frame"
    )


def test_no_labels_at_all(changed, folder):
    def texts(database):
        filewise = [f"emotion.{split}" for split in ("train", "dev", "test")]
        database.drop_tables(filewise)
        database["files"].drop_columns("arousal", inplace=True)

    assert refusal(lambda: read(changed(texts)), folder) == (
        "SRC has no segmented table with a column of numbers, such as arousal or valence; its tables: files"
    )


def test_one_label_per_utterance_is_refused(changed, folder):
    def utterances(database):
        index = audformat.segmented_index(["audio/b 1.wav"] * 3, [0.0, 0.5, 2.0], [0.5, 1.8, 2.4])
        database["emotion.dev"] = audformat.Table(index, split_id="dev")
        database["emotion.dev"]["arousal"] = audformat.Column(scheme_id="arousal")
        database["emotion.dev"]["arousal"].set([0.1, 0.2, 0.3])

    assert refusal(lambda: read(changed(utterances)), folder) == (
        "SRC: table emotion.dev has one label per segment of 0.4 to 1.3 s: ser_ray trains on labels over time, with "
        "a row per frame, all of the same length"
    )


def test_two_columns_of_one_target(changed, folder):
    def twice(database):
        database["emotion.train"]["again"] = audformat.Column(scheme_id="arousal")
        database["emotion.train"]["again"].set(0.5)

    assert refusal(lambda: read(changed(twice)), folder) == (
        "SRC/db.yaml: columns arousal and again both contain arousal: give them raters of the type human, or remove "
        "all but one"
    )


def test_missing_audio_and_tables(folder):
    (folder / "audio" / "b 1.wav").unlink()
    (folder / "audio" / "c 1.wav").unlink()
    message = refusal(lambda: read(folder), folder)
    assert "SRC: 2 mistakes" in message
    assert "SRC/audio/b 1.wav is missing: audio of table emotion.dev" in message
    (folder / "db.emotion.dev.csv").unlink()
    message = refusal(lambda: read(folder), folder)
    assert message == "SRC: table emotion.dev has no file: db.emotion.dev.parquet or .csv"


class Canary:
    """What, unpickled, writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_no_pickle_is_read(changed, tmp_path):
    folder = changed(lambda database: None, "csv")
    names = sorted(source.name for source in read(folder).sources)
    for table in list(folder.glob("db.*.csv")):
        table.with_suffix(".pkl").write_bytes(pickle.dumps(Canary(tmp_path / "sung")))
    (folder / "db.emotion.dev.csv").touch()  # newer than its pickle, which the library would refuse
    assert sorted(source.name for source in read(folder).sources) == names
    assert labels_of(read(folder).sources[0]).ratings
    (folder / "db.emotion.dev.csv").unlink()
    message = refusal(lambda: read(folder), folder)
    assert message.startswith(
        "SRC/db.emotion.dev.pkl is a pickle, which could execute arbitrary code when it is read: save"
    )
    assert not (tmp_path / "sung").exists()


def test_no_tag_of_the_header_is_followed(folder, tmp_path):
    header = folder / "db.yaml"
    header.write_text(header.read_text() + f"meta: !!python/object/apply:os.mkdir ['{tmp_path / 'sung'}']\n")
    assert refusal(lambda: read(folder), folder).startswith("SRC/db.yaml cannot be read by audformat: ")
    assert not (tmp_path / "sung").exists()
