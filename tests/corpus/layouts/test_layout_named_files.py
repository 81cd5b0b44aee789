"""Files whose names nearly match a recording's: found where it is the same name, else said by name."""

import unicodedata

import pytest
from corpus_cases import noise

from ser_ray.corpus import open_corpus
from ser_ray.corpus.describing.info import summary
from ser_ray.corpus.importing.ingest import import_corpus
from ser_ray.errors import InputError


@pytest.fixture
def made(table_source, tmp_path):
    def of():
        return import_corpus("table", table_source.folder, tmp_path / "out")

    return of


@pytest.mark.parametrize("other", ["D", "d ", "0d", "d.wav"])
def test_labels_beside_a_test_recording(table_source, made, other):
    labels = table_source.folder / "labels"
    (labels / "d.csv").rename(labels / f"{other}.csv")
    imported = made()
    assert (
        f"test recording d has no labels, but labels/{other}.csv belongs to no recording: rename it if it belongs to "
        "this one" in imported.warnings
    )
    assert "test 1 recordings (0 labelled)" in summary(open_corpus(imported.path))


def test_a_typing_mistake_and_a_stranger(table_source, made):
    labels = table_source.folder / "labels"
    rows = ["a,train,Sa", "b,train,Sb", "c,devel,Sc", "recording_5,test,Sd"]
    table_source.table(rows)
    table_source.audio("recording_5", noise(32000))
    (labels / "d.csv").rename(labels / "recordnig_5.csv")
    (labels / "other.csv").write_bytes((labels / "a.csv").read_bytes())
    assert made().warnings == (
        "test recording recording_5 has no labels, but labels/recordnig_5.csv belongs to no recording: rename it if "
        "it belongs to this one",
        "labels of no recording: labels/other.csv",
    )


def test_raters_likewise(table_source, made):
    times, values = table_source.traces()
    for name in ("a", "B"):
        table_source.raters(name, times, arousal_R1=values[:, 0], arousal_R2=values[:, 1])
    assert (
        "train recording b has no raters' file, but raters/B.csv belongs to no recording: rename it if it belongs to "
        "this one" in made().warnings
    )


def test_a_suffix_in_capitals_is_the_same(table_source, made):
    labels = table_source.folder / "labels"
    (labels / "d.csv").rename(labels / "d.CSV")
    imported = made()
    assert imported.warnings == ()
    assert all(recording.labelled for recording in open_corpus(imported.path).recordings("test"))


@pytest.mark.parametrize(("in_table", "of_files"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_one_name_however_it_is_encoded(table_source, made, in_table, of_files):
    in_table, of_files = (unicodedata.normalize(form, "Zoë") for form in (in_table, of_files))
    table_source.table(["a,train,Sa", "b,train,Sb", "c,devel,Sc", f"{in_table},test,{in_table}"])
    for folder, suffix in (("audio", "wav"), ("labels", "csv")):
        (table_source.folder / folder / f"d.{suffix}").rename(table_source.folder / folder / f"{of_files}.{suffix}")
    imported = made()
    (recording,) = open_corpus(imported.path).recordings("test")
    assert (recording.name, recording.speaker, recording.labelled, imported.warnings) == ("Zo\xeb", "Zo\xeb", True, ())


def test_two_encodings_of_one_name_clash(table_source, made):
    nfc, nfd = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
    table_source.table(["a,train,Sa", "b,train,Sb", "c,devel,Sc", f"{nfc},test,S", f"{nfd},test,S"])
    for name in (nfc, nfd):
        table_source.audio(name, noise(32000))
    with pytest.raises(InputError, match="is already in line 5") as caught:
        made()
    assert "audio of Zoë is ambiguous" in str(caught.value)
    table_source.table(["a,train,Sa", "b,train,Sb", "c,devel,Sc", f"{nfc},test,S"])
    (table_source.folder / "audio" / f"{nfd}.wav").unlink()
    for name in (nfc, nfd):
        table_source.labels(name, *table_source.traces())
    with pytest.raises(InputError, match="are both named after recording Zoë; keep one"):
        made()


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("7", "007"),
        ("1.0", "1"),
        ("7.0", "007"),
        ("rec0.wav", "rec0"),
        ("Rec0", "rec0"),
        ("recording_o1", "recording_01"),
    ],
)
def test_missing_audio_is_answered_with_the_nearest_name(table_source, made, name, there):
    table_source.table(["a,train,Sa", "b,train,Sb", "c,devel,Sc", f"{name},test,Sd"])
    table_source.audio(there, noise(32000))
    with pytest.raises(
        InputError, match=rf"audio of recording {name} .*; a similar file is .*/{there}.wav: write {there} in"
    ):
        made()


def test_audio_in_a_folder_below(table_source, made):
    below = table_source.folder / "audio" / "session1"
    below.mkdir()
    (table_source.folder / "audio" / "d.wav").rename(below / "d.wav")
    with pytest.raises(InputError, match=r"; a similar file is .*session1/d.wav: move it to .*audio"):
        made()
