"""Columns of the layout `table` that say which audio is meant: file, channel, start and end."""

import unicodedata

import numpy as np
import pytest
import soundfile
from corpus_cases import noise

from ser_ray.corpus import open_corpus
from ser_ray.corpus.importing.ingest import ImportConfig, import_corpus
from ser_ray.errors import InputError

HEADER = "name,partition,speaker,audio,channel,start,end"
LEFT, RIGHT = noise(10 * 16000, 7), noise(10 * 16000, 8)


@pytest.fixture
def table(table_source, tmp_path):
    """Write the table anew, beside a file of two channels; return the corpus that it becomes, and its warnings."""
    soundfile.write(table_source.folder / "audio" / "talk.wav", np.column_stack([LEFT, RIGHT]), 16000)

    def of(*rows, header=HEADER, **options):
        table_source.table(list(rows), header)
        made = import_corpus("table", table_source.folder, tmp_path / "out", ImportConfig(**options))
        corpus = open_corpus(made.path)
        audio = {r.name: corpus.audio(r) for p in ("train", "devel", "test") for r in corpus.recordings(p)}
        return corpus, audio, made.warnings

    return of


def test_several_recordings_are_parts_of_one_file(table, table_source):
    corpus, audio, warnings = table(
        "a,train,Ann,talk.wav,left,,2",
        "b,train,Bob,talk.wav,Right,1.5,3.5",
        "c,devel,Ann,talk,1,4.00005,6.00005",
        "d,test,Bob,talk,2,8,",
    )
    expected = {"a": LEFT[:32000], "b": RIGHT[24000:56000], "c": LEFT[64001:96001], "d": RIGHT[128000:]}
    for name, samples in expected.items():
        np.testing.assert_array_equal(audio[name], samples)
    assert warnings == ()
    recording = corpus.recordings("train")[1]
    np.testing.assert_array_equal(corpus.gold(recording), table_source.traces(1)[1][:50].astype(np.float32))
    assert recording.extra == {"audio": "talk.wav", "channel": "Right", "start": "1.5", "end": "3.5"}


def test_empty_fields_mean_what_is_usual(table):
    _, audio, warnings = table("a,train,A,,,,", "b,train,B,,,,", "c,devel,C,,,,", "d,test,D,,,,")
    for number, name in enumerate("abcd"):
        np.testing.assert_array_equal(audio[name], noise(32000, number))
    assert warnings == ()


def test_columns_in_capitals_and_paths(table, table_source):
    soundfile.write(table_source.folder / "deep.flac", noise(32000, 9), 16000)
    (table_source.folder / "audio" / "sub").mkdir()
    soundfile.write(table_source.folder / "audio" / "sub" / "deep.wav", noise(32000, 10), 16000)
    name = unicodedata.normalize("NFD", "zoë")
    soundfile.write(table_source.folder / "audio" / f"{name}.wav", noise(32000, 11), 16000)
    rows = ["a,train,deep.flac", "b,train,sub/deep.wav", "c,devel,zoë.wav", "d,test,zoë"]
    _, audio, _ = table(*rows, header="Name,Partition,Audio")
    for number, name in enumerate("abc", start=9):
        np.testing.assert_array_equal(audio[name], noise(32000, number))
    np.testing.assert_array_equal(audio["d"], audio["c"])


def test_the_option_is_for_recordings_that_name_no_channel(table):
    rows = ["a,train,A,talk,,0,2", "b,train,B,talk,1,2,4", "c,devel,C,talk,mean,4,6", "d,test,D,,,,"]
    with pytest.raises(InputError, match=r"d.wav has 1 channel, but channel 2 is requested"):
        table(*rows, channel=2)
    corpus, audio, warnings = table(*rows[:3], "d,test,D,talk,,6,8", channel=2)
    np.testing.assert_array_equal(audio["a"], RIGHT[:32000])
    np.testing.assert_array_equal(audio["b"], LEFT[32000:64000])
    np.testing.assert_array_equal(audio["d"], RIGHT[96000:128000])
    mean = (LEFT[64000:96000].astype(float) + RIGHT[64000:96000]) / 2
    np.testing.assert_array_equal(audio["c"], np.rint(mean))
    assert warnings == ()
    assert corpus.manifest.preparation["channel"] == "2"


def test_speakers_on_channels_that_nobody_chose_from(table):
    corpus, _, warnings = table("a,train,A,talk,,0,2", "b,train,B,,,,", "c,devel,C,,,,", "d,test,D,,,,", header=HEADER)
    (said,) = warnings
    assert "talk.wav has channels that hardly correlate" in said
    assert "channel" not in corpus.manifest.preparation


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,train,A,talk,both,,", r"line 2 \(rename .*\): channel is 'both', but must be left, right, a number"),
        ("a,train,A,talk,3,,", r"talk.wav has 2 channels, but channel 3 is requested"),
        ("a,train,A,talk,,x,", r"line 2: start is 'x', but must be seconds .* such as 12.5; rename the column if"),
        ("a,train,A,talk,,-1,", r"line 2: start is '-1', but must be seconds"),
        ("a,train,A,talk,,,inf", r"line 2: end is 'inf', but must be seconds"),
        ("a,train,A,talk,,,0:02", r"line 2: end is '0:02', but must be seconds"),
        ("a,train,A,talk,,3,3", r"line 2: end is 3 s, but start is 3 s: the end must be after the start"),
        ("a,train,A,talk,,12,", r"recording a begins at 12.00 s, but .*talk.wav lasts 10.00 s"),
        ("a,train,A,walk.wav,,,", r"line 2: audio is 'walk.wav', but neither .*/audio nor .* has such a file; rename"),
        (
            "a,train,A,talk.flac,,,",
            r"line 2: audio is 'talk.flac', .* has such a file; a similar file is .*/audio/talk.wav;",
        ),
        ("a,train,A,../audio,,,", r"line 2: audio is '../audio', but neither"),
        ("a,train,A,recordings.csv,,,", r"recordings.csv: this format is not supported; convert it to wav or flac"),
    ],
)
def test_what_names_no_audio_is_refused(table, row, said):
    with pytest.raises(InputError, match=said):
        table(row, "b,train,B,,,,", "c,devel,C,,,,", "d,test,D,,,,")


def test_an_end_behind_that_of_the_file_is_told(table):
    _, audio, warnings = table("a,train,A,talk,1,8.5,12", "b,train,B,,,,", "c,devel,C,,,,", "d,test,D,talk,1,8,10.5")
    assert [w.replace("SRC", "") for w in warnings] == [warnings[0]]
    assert "recording a should end at 12.00 s, but " in warnings[0]
    assert "talk.wav ends 2.00 s before that" in warnings[0]
    np.testing.assert_array_equal(audio["d"], LEFT[128000:])


def test_two_files_of_one_name(table, table_source):
    soundfile.write(table_source.folder / "audio" / "talk.flac", LEFT, 16000)
    rows = ["b,train,B,,,,", "c,devel,C,,,,", "d,test,D,,,,"]
    with pytest.raises(InputError, match=r"audio of talk is ambiguous: .*talk.flac and .*talk.wav; keep one"):
        table("a,train,A,talk,,,", *rows)
    _, audio, _ = table("a,train,A,talk.flac,,,2", *rows)
    np.testing.assert_array_equal(audio["a"], LEFT[:32000])


def test_sphere_files_are_read(table_source, tmp_path):
    for name in ("a", "c"):
        (table_source.folder / "audio" / f"{name}.wav").unlink()
    soundfile.write(table_source.folder / "audio" / "a.sph", noise(32000, 0), 16000, format="NIST")
    soundfile.write(table_source.folder / "audio" / "c.SPH", noise(32000, 2), 16000, format="NIST", subtype="PCM_16")
    made = import_corpus("table", table_source.folder, tmp_path / "out")
    corpus = open_corpus(made.path)
    np.testing.assert_array_equal(corpus.audio(corpus.recordings("train")[0]), noise(32000, 0))
    np.testing.assert_array_equal(corpus.audio(corpus.recordings("devel")[0]), noise(32000, 2))
    assert made.warnings == ()
