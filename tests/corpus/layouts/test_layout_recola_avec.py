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

SECONDS, SEED = 2.0, 5
GOLD, RATINGS = "ratings_gold_standard", "ratings_individual"


@pytest.fixture(scope="module")
def mimic(tmp_path_factory):
    out = tmp_path_factory.mktemp("avec") / "AVEC2016"
    recola_avec.write(out, SECONDS, SEED)
    return out


@pytest.fixture
def source(mimic, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(mimic, tmp_path / "AVEC2016")


@pytest.fixture
def refusal(source):
    def of():
        with pytest.raises(InputError) as caught:
            read(source)
        return str(caught.value).replace(str(source), "SRC")

    return of


def labels_of(source, name):
    return pickle.loads(pickle.dumps(next(s for s in read(source).sources if s.name == name).labels))()


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


def test_recordings_come_in_the_order_of_their_numbers(source):
    for kind in ("recordings_audio/{}.wav", GOLD + "/arousal/{}.arff", GOLD + "/valence/{}.arff"):
        shutil.copy(source / kind.format("train_1"), source / kind.format("train_10"))
    names = [s.name for s in read(source).sources]
    assert names == ["train_1", "train_2", "train_10", "dev_1", "dev_2", "test_1"]


def test_ratings_need_not_be_there(source):
    shutil.rmtree(source / RATINGS)
    labelled = labels_of(source, "train_1")
    assert len(labelled.gold) == 2
    assert labelled.ratings == {}


def test_labelled_test_recordings(source):
    for target in ("arousal", "valence"):
        shutil.copy(source / GOLD / target / "dev_1.arff", source / GOLD / target / "test_1.arff")
    assert [traces.path.name for traces in labels_of(source, "test_1").gold] == ["test_1.arff"] * 2
    assert read(source).warnings == ()


def test_test_recordings_with_ratings_alone_are_warned_of(source):
    for target in ("arousal", "valence"):
        shutil.copy(source / RATINGS / target / "dev_1.csv", source / RATINGS / target / "test_1.csv")
    assert read(source).warnings == ("gold of test_1 will be made from raters, while that of the others is given",)
    assert labels_of(source, "test_1").gold == ()


def test_other_and_hidden_files_are_ignored(source):
    (source / "recordings_audio" / "._train_1.wav").write_bytes(b"mac")
    (source / "recordings_audio" / "readme.txt").write_text("hello")
    (source / "features_audio").mkdir()
    assert len(read(source).sources) == 5


def test_flac_and_capital_suffixes_are_read(source):
    audio = source / "recordings_audio"
    (audio / "train_1.wav").rename(audio / "train_1.WAV")
    (audio / "dev_1.wav").rename(audio / "dev_1.flac")
    assert {s.audio.name for s in read(source).sources} >= {"train_1.WAV", "dev_1.flac"}


def test_wrong_folder(source, refusal, tmp_path):
    shutil.rmtree(source / GOLD / "valence")
    assert refusal() == (
        "SRC is not in the layout recola_avec: looked for recordings_audio/*.wav, "
        "ratings_gold_standard/arousal/*.arff, ratings_gold_standard/valence/*.arff; "
        "missing: ratings_gold_standard/valence/*.arff; "
        "it holds NOTICE, ratings_gold_standard/, ratings_individual/, recordings_audio/"
    )
    shutil.rmtree(source)
    assert "missing: recordings_audio/*.wav and ratings_gold_standard/arousal/*.arff" in refusal()
    assert refusal().endswith("it does not exist")
    source.mkdir()
    with pytest.raises(InputError, match="it holds AVEC2016/"):
        read(tmp_path)


def test_missing_partners(source, refusal):
    (source / GOLD / "valence" / "train_2.arff").unlink()
    (source / "recordings_audio" / "dev_2.wav").unlink()
    (source / RATINGS / "arousal" / "dev_1.csv").unlink()
    for target in ("arousal", "valence"):
        (source / GOLD / target / "train_1.arff").unlink()
    message = refusal().splitlines()
    assert message[0] == "SRC: 4 mistakes"
    assert (
        "  SRC/ratings_individual/valence/dev_1.csv has no partner SRC/ratings_individual/arousal/dev_1.csv: every "
        "labelled recording needs both targets; add the file, or remove the other"
    ) in message
    assert (
        "  SRC/ratings_gold_standard/arousal/dev_2.arff names a recording whose audio SRC/recordings_audio/dev_2.wav "
        "is missing: add it, or take the recording out"
    ) in message
    assert (
        "  SRC/recordings_audio/train_1.wav has no partner SRC/ratings_gold_standard/arousal/train_1.arff: recordings "
        "of train and devel need labels; add the file, or take the audio away"
    ) in message
    assert any(
        line.startswith(
            "  SRC/ratings_gold_standard/arousal/train_2.arff has no partner "
            "SRC/ratings_gold_standard/valence/train_2.arff"
        )
        for line in message
    )


@pytest.mark.parametrize("name", ["P16", "valid_1", "train_x", "train", "dev_1_new", "Train_3"])
def test_unknown_names(source, refusal, name):
    shutil.copy(source / "recordings_audio" / "test_1.wav", source / "recordings_audio" / f"{name}.wav")
    assert refusal() == (
        f"SRC/recordings_audio/{name}.wav: name is '{name}', but must be train_N, dev_N or test_N with a number N"
    )


def test_two_files_of_one_recording(source, refusal):
    shutil.copy(source / "recordings_audio" / "test_1.wav", source / "recordings_audio" / "test_1.flac")
    assert refusal() == (
        "recording test_1 has two files, SRC/recordings_audio/test_1.flac and SRC/recordings_audio/test_1.wav: keep one"
    )


def test_ratings_without_raters(source):
    (source / RATINGS / "arousal" / "train_1.csv").write_text("time\n0\n0.04\n")
    with pytest.raises(InputError, match=r"train_1.csv has no rater's column with numbers beside time"):
        labels_of(source, "train_1")
