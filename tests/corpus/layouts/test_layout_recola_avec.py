"""RECOLA of AVEC 2015/2016: what the mimic writes comes back, and what lacks its partner is named with it."""

import pickle
import shutil

import numpy as np
import pytest
import soundfile

from ser_ray.corpus.gold.consensus import gold_standard
from ser_ray.corpus.layouts.recola_avec import read
from ser_ray.corpus.mimics import recola_avec
from ser_ray.corpus.mimics.people import NOTICE, at_times, person
from ser_ray.errors import InputError

LAYOUT = "recola_avec"
SECONDS, SEED = 2.0, 5
GOLD, RATINGS = "ratings_gold_standard", "ratings_individual"


def labels_of(folder, name):
    return pickle.loads(pickle.dumps(next(s for s in read(folder).sources if s.name == name).labels))()


def test_recordings_and_partitions(mimic):
    description = read(mimic)
    found = [(s.name, s.partition, s.speaker, s.audio.relative_to(mimic).as_posix()) for s in description.sources]
    assert found == [
        (name, partition, name, f"recordings_audio/{name}.wav")
        for name, partition in (
            ("train_1", "train"),
            ("train_2", "train"),
            ("dev_1", "devel"),
            ("dev_2", "devel"),
            ("test_1", "test"),
        )
    ]
    assert description.alignment == "end"
    assert description.label_rate_hz is None
    assert description.warnings == ()
    assert description.notice == NOTICE
    assert all(not s.extra and s.start_s == 0 and s.stop_s is None for s in description.sources)
    for recording in description.sources:
        paths = {path.relative_to(mimic).as_posix() for path in recording.label_files}
        assert paths == (
            set()
            if recording.partition == "test"
            else {f"{GOLD}/{target}/{recording.name}.arff" for target in ("arousal", "valence")}
            | {f"{RATINGS}/{target}/{recording.name}.csv" for target in ("arousal", "valence")}
        )
    assert description.sources[-1].labels is None


def test_gold_and_ratings_are_what_was_written(mimic):
    frames = round(SECONDS * 25)
    times = np.arange(frames + 1) * 0.04
    for number, name in enumerate(("train_1", "train_2", "dev_1", "dev_2")):
        labelled = labels_of(mimic, name)
        someone = person(number, SECONDS, SEED)
        assert [list(traces.values) for traces in labelled.gold] == [["arousal"], ["valence"]]
        for target, gold in zip(("arousal", "valence"), labelled.gold, strict=True):
            rated = np.array([at_times(trace, times) for trace in someone.ratings[target].values()])
            expected = [float(f"{value:.6f}") for value in gold_standard(rated, "ccc_centred")]
            np.testing.assert_allclose(gold.times_s, times, rtol=0, atol=1e-9)
            np.testing.assert_array_equal(gold.values[target], expected)
            (ratings,) = labelled.ratings[target]
            assert list(ratings.values) == ["FM1", "FM2", "FM3", "FF1", "FF2", "FF3"]
            rounded = rated.round(2)
            if (name, target) == ("train_2", "valence"):
                rounded[1, 3] = np.nan
            np.testing.assert_array_equal(np.array(list(ratings.values.values())), rounded)


def test_mimic_has_the_oddities_of_the_layout(mimic):
    gold = {name: (mimic / GOLD / "arousal" / f"{name}.arff").read_text().splitlines() for name in ("dev_1", "dev_2")}
    assert [lines.index(next(x for x in lines if x.startswith("dev_"))) for lines in gold.values()] == [9, 6]
    assert gold["dev_1"][9].startswith("dev_1,0,")
    assert gold["dev_1"][10].startswith("dev_1,0.04,")
    assert len(gold["dev_1"]) == 9 + SECONDS * 25 + 1
    ratings = (mimic / RATINGS / "valence" / "train_2.csv").read_text()
    assert ratings.startswith("time;FM1 ;FM2 ;FM3 ;FF1 ;FF2 ;FF3\n0;")
    assert ratings.count("NaN") == 1
    header = soundfile.info(mimic / "recordings_audio" / "test_1.wav")
    assert (header.samplerate, header.channels, header.frames) == (44100, 2, 44100 * SECONDS)


def test_same_seed_same_mimic(mimic, tmp_path):
    recola_avec.write(tmp_path / "again", SECONDS, SEED)
    recola_avec.write(tmp_path / "other", SECONDS, SEED + 1)
    files = sorted(path.relative_to(mimic) for path in mimic.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    assert all((mimic / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)
    gold = f"{GOLD}/arousal/dev_1.arff"
    assert (mimic / gold).read_bytes() != (tmp_path / "other" / gold).read_bytes()


def test_recordings_come_in_the_order_of_their_numbers(folder):
    for kind in ("recordings_audio/{}.wav", GOLD + "/arousal/{}.arff", GOLD + "/valence/{}.arff"):
        shutil.copy(folder / kind.format("train_1"), folder / kind.format("train_10"))
    names = [s.name for s in read(folder).sources]
    assert names == ["train_1", "train_2", "train_10", "dev_1", "dev_2", "test_1"]


def test_ratings_need_not_be_there(folder):
    shutil.rmtree(folder / RATINGS)
    labelled = labels_of(folder, "train_1")
    assert len(labelled.gold) == 2
    assert labelled.ratings == {}


def test_labelled_test_recordings(folder):
    for target in ("arousal", "valence"):
        shutil.copy(folder / GOLD / target / "dev_1.arff", folder / GOLD / target / "test_1.arff")
    assert [traces.path.name for traces in labels_of(folder, "test_1").gold] == ["test_1.arff"] * 2
    assert read(folder).warnings == ()


def test_test_recordings_with_ratings_alone_are_warned_of(folder):
    for target in ("arousal", "valence"):
        shutil.copy(folder / RATINGS / target / "dev_1.csv", folder / RATINGS / target / "test_1.csv")
    assert read(folder).warnings == ("gold of test_1 will be computed from raters, while that of the others is given",)
    assert labels_of(folder, "test_1").gold == ()


def test_other_and_hidden_files_are_ignored(folder):
    (folder / "recordings_audio" / "._train_1.wav").write_bytes(b"mac")
    (folder / "recordings_audio" / "readme.txt").write_text("hello")
    (folder / "features_audio").mkdir()
    assert len(read(folder).sources) == 5


def test_flac_and_capital_suffixes_are_read(folder):
    audio = folder / "recordings_audio"
    (audio / "train_1.wav").rename(audio / "train_1.WAV")
    (audio / "dev_1.wav").rename(audio / "dev_1.flac")
    assert {s.audio.name for s in read(folder).sources} >= {"train_1.WAV", "dev_1.flac"}


def test_wrong_folder(folder, refused, tmp_path):
    shutil.rmtree(folder / GOLD / "valence")
    assert refused() == (
        "SRC is not in the layout recola_avec: looked for recordings_audio/*.wav, "
        "ratings_gold_standard/arousal/*.arff, ratings_gold_standard/valence/*.arff; missing: "
        "ratings_gold_standard/valence/*.arff; it contains NOTICE, ratings_gold_standard/, ratings_individual/, "
        "recordings_audio/"
    )
    shutil.rmtree(folder)
    assert "missing: recordings_audio/*.wav and ratings_gold_standard/arousal/*.arff" in refused()
    assert refused().endswith("it does not exist")
    folder.mkdir()
    with pytest.raises(InputError, match="it contains my data/"):
        read(tmp_path)


def test_missing_partners(folder, refused):
    (folder / GOLD / "valence" / "train_2.arff").unlink()
    (folder / "recordings_audio" / "dev_2.wav").unlink()
    (folder / RATINGS / "arousal" / "dev_1.csv").unlink()
    for target in ("arousal", "valence"):
        (folder / GOLD / target / "train_1.arff").unlink()
    message = refused().splitlines()
    assert message[0] == "SRC: 4 mistakes"
    assert (
        "  SRC/ratings_individual/arousal/dev_1.csv is missing, but SRC/ratings_individual/valence/dev_1.csv "
        "exists: every labelled recording needs both targets; add the file, or remove the other"
    ) in message
    assert (
        "  SRC/ratings_gold_standard/arousal/dev_2.arff needs the audio SRC/recordings_audio/dev_2.wav, which is "
        "missing: add it, or remove the recording"
    ) in message
    assert (
        "  SRC/ratings_gold_standard/arousal/train_1.arff is missing: labels of SRC/recordings_audio/train_1.wav; "
        "recordings of train and devel need labels; add the file, or remove the audio"
    ) in message
    assert any(
        line.startswith(
            "  SRC/ratings_gold_standard/valence/train_2.arff is missing, but "
            "SRC/ratings_gold_standard/arousal/train_2.arff exists"
        )
        for line in message
    )


@pytest.mark.parametrize("name", ["P16", "valid_1", "train_x", "train", "dev_1_new", "Train_3"])
def test_unknown_names(folder, refused, name):
    shutil.copy(folder / "recordings_audio" / "test_1.wav", folder / "recordings_audio" / f"{name}.wav")
    assert refused() == (
        f"SRC/recordings_audio/{name}.wav: name is '{name}', but must be train_N, dev_N or test_N with a number N"
    )


def test_two_files_of_one_recording(folder, refused):
    shutil.copy(folder / "recordings_audio" / "test_1.wav", folder / "recordings_audio" / "test_1.flac")
    assert refused() == (
        "recording test_1 has two files, SRC/recordings_audio/test_1.flac and SRC/recordings_audio/test_1.wav: keep one"
    )


def test_ratings_without_raters(folder):
    (folder / RATINGS / "arousal" / "train_1.csv").write_text("time\n0\n0.04\n")
    with pytest.raises(InputError, match=r"train_1.csv has no column of a rater, only time"):
        labels_of(folder, "train_1")
