"""All recordings are looked at before any is converted, and what does not fit is told of all of them."""

import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from corpus_cases import noise

from ser_ray.corpus import open_corpus
from ser_ray.corpus.importing import preview
from ser_ray.corpus.importing.frames import Framing
from ser_ray.corpus.importing.ingest import ImportConfig, import_corpus
from ser_ray.corpus.layouts import table
from ser_ray.errors import InputError

AS_THEY_ARE, RESAMPLED = Framing(0), Framing(640, resample=True)


@pytest.fixture
def previewed(table_source):
    """Look at the folder, its path in messages replaced by SRC."""

    def at(framing=AS_THEY_ARE, jobs=1):
        sources = table.read(table_source.folder).sources
        return preview.preview(sources, framing, None, (), table_source.folder, jobs)

    return at


@pytest.fixture
def refusal(previewed, table_source):
    def of(**options):
        with pytest.raises(InputError) as caught:
            previewed(**options)
        return str(caught.value).replace(str(table_source.folder), "SRC")

    return of


def test_what_recordings_have_in_common(previewed, table_source):
    table_source.audio("b", noise(30_000))
    seen = previewed()
    assert (seen.hop, seen.targets, seen.some_given, seen.warnings) == (640, ("arousal", "valence"), True, ())
    assert seen.seconds == (2.0, 1.875, 2.0, 2.0)
    assert previewed(framing=Framing(400, resample=True)).hop == 400


def test_several_processes_see_the_same(previewed, table_source):
    """Of as many recordings as are not left to one process; two of them in audio of their own."""
    names = [f"r{number}" for number in range(preview.ALONE + 1)]
    audio = {"r1": "b", "r100": "c"}
    table_source.audio("b", noise(30_000))
    table_source.audio("c", noise(88_200), 44_100)
    rows = [f"{name},{'devel' if name == 'r0' else 'train'},S,{audio.get(name, 'a')}.wav" for name in names]
    table_source.table(rows, "name,partition,speaker,audio")
    for name in names:
        table_source.labels(name, *table_source.traces())
    seen = previewed(jobs=2)
    assert seen == previewed()
    assert (seen.seconds.count(1.875), len(seen.seconds)) == (1, len(names))
    assert len(seen.warnings) == 1


def test_raters_alone(previewed, table_source):
    times, values = table_source.traces()
    for name in table_source.partitions:
        (table_source.folder / "labels" / f"{name}.csv").unlink()
        table_source.raters(name, times, arousal_R1=values[:, 0])
    seen = previewed()
    assert (seen.targets, seen.some_given) == (("arousal",), False)


def test_several_rates_are_a_warning(previewed, table_source):
    for name in "bc":
        table_source.audio(name, noise(88_200), 44_100)
    assert previewed().warnings == (
        "audio has several sample rates (2 at 16000 Hz, 2 at 44100 Hz): all of it is resampled to 16000 Hz",
    )


def test_mistakes_in_labels_and_audio_are_told_at_once(refusal, table_source):
    table_source.audio("a", noise(0))
    table_source.label_text("a", "time,arousal\n0,0")
    (table_source.folder / "audio" / "c.wav").write_bytes(b"")
    (table_source.folder / "labels" / "b.csv").unlink()
    lines = refusal().splitlines()
    assert lines[0] == "SRC: 4 mistakes"
    assert lines[1:4] == [
        "  SRC/labels/a.csv has 1 row, but the rate can only be determined from at least 2",
        "  SRC/audio/a.wav has zero length: it contains no samples",
        "  train recording b has no labels: training needs those of train and devel; add them, or move the "
        "recording to test",
    ]
    assert lines[4].startswith("  SRC/audio/c.wav cannot be read as audio")


def test_labels_that_may_not_be_read(refusal, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(table, "read_traces", denied)
    assert refusal().startswith("SRC: 4 mistakes\n  [Errno 13] Permission denied: 'SRC/labels/a.csv'\n")


def test_a_table_that_may_not_be_read(table_source, tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(table, "read_rows", denied)
    message = rf"{table_source.folder} cannot be read \(\[Errno 13\] Permission denied: '.*recordings.csv'\)"
    with pytest.raises(InputError, match=message):
        import_corpus("table", table_source.folder, tmp_path / "out")


@pytest.mark.parametrize("framing", [AS_THEY_ARE, RESAMPLED])
def test_times_in_another_unit(refusal, table_source, framing):
    times, values = table_source.traces()
    table_source.labels("b", times, values)
    for name in table_source.partitions:
        table_source.labels(name, times * 1000, values)
    end = "2040" if framing.hop == 0 else "2000"
    assert refusal(framing=framing).splitlines()[:2] == [
        "SRC: 4 mistakes",
        f"  labels of a last {float(end) / 2:.3g} times as long as the audio: to {end} s, but SRC/audio/a.wav lasts "
        "2.00 s; time must be in seconds from its beginning; for another unit, use --time-unit ms, or --time-unit "
        "frames --label-rate HZ",
    ]


@pytest.mark.parametrize(
    ("rate_hz", "per_second"),
    [(2, 2), (10, 10), (25, 25), (50, 50), (100, 100), (25, 10), (25, 100), (25, 1000)],
    ids=["frames-2", "frames-10", "frames-25", "frames-50", "frames-100", "ds", "cs", "ms"],
)
def test_times_that_count_something_else(refusal, table_source, rate_hz, per_second):
    table_source.rate = rate_hz
    for number, name in enumerate(table_source.partitions):
        times, values = table_source.traces(number)
        table_source.labels(name, times * per_second, values)
    message = refusal()
    assert message.startswith("SRC: 4 mistakes")
    assert "times as long as the audio" in message
    assert "--time-unit" in message


@pytest.mark.parametrize(
    ("per_second", "options", "prepared"),
    [
        (25, {"time_unit": "frames", "label_rate_hz": 25.0}, "frames"),
        (1000, {"time_unit": "ms"}, "ms"),
        (1000, {"time_unit": "ms", "label_rate_hz": 25.0}, "ms"),
    ],
)
def test_times_in_a_unit_that_is_named(table_source, tmp_path, per_second, options, prepared):
    plain = open_corpus(import_corpus("table", table_source.folder, tmp_path / "plain").path)
    for number, name in enumerate(table_source.partitions):
        times, values = table_source.traces(number)
        table_source.labels(name, times * per_second, values)
        table_source.raters(name, times * per_second, arousal_R1=values[:, 0], arousal_R2=values[:, 1])
    made = open_corpus(import_corpus("table", table_source.folder, tmp_path / "out", ImportConfig(**options)).path)
    assert made.manifest.preparation["time unit"] == prepared
    assert "time unit" not in plain.manifest.preparation
    for one, other in zip(plain.recordings("train"), made.recordings("train"), strict=True):
        np.testing.assert_array_equal(plain.gold(one), made.gold(other))


def test_a_unit_that_cannot_be(table_source, tmp_path):
    with pytest.raises(InputError, match="--label-rate HZ"):
        ImportConfig(time_unit="frames")
    with pytest.raises(InputError, match="must be one of s, ms, frames"):
        ImportConfig(time_unit="minutes")


def test_times_of_a_clock(refusal, table_source):
    times, values = table_source.traces()
    table_source.labels("b", 1.7e9 + times, values)
    assert refusal(framing=RESAMPLED) == (
        "labels of b begin at 1700000000 s, but SRC/audio/b.wav lasts 2.00 s: their times must be in seconds from "
        "its beginning"
    )


@pytest.mark.parametrize("framing", [AS_THEY_ARE, RESAMPLED])
def test_labels_that_go_on(previewed, table_source, framing):
    table_source.audio("b", noise(12_800))
    (warning,) = previewed(framing=framing).warnings
    end = "2.04" if framing.hop == 0 else "2.00"
    assert re.fullmatch(rf"labels of b end at {end} s, but .*b.wav ends at 0.80 s: later labels are dropped", warning)


def test_the_file_with_the_fewest_rows_is_named(refusal, table_source):
    times, values = table_source.traces()
    table_source.raters("b", times[:20], arousal_R1=values[:20, 0])
    assert refusal() == (
        "recording b has too few label rows: those of SRC/raters/b.csv, 20 at 25 Hz, end after 0.80 s, but "
        "SRC/audio/b.wav lasts 2.00 s; cut the audio or add rows"
    )


def test_recordings_of_one_second_more_than_labels_are_let_through(previewed, table_source):
    times, values = table_source.traces()
    table_source.labels("b", times[:25], values[:25])
    assert previewed().warnings == ()


@pytest.mark.parametrize("rate", [None, 25.0])
def test_a_lag_longer_than_the_labels(table_source, tmp_path, rate):
    config = ImportConfig(rater_lag_s=19.0, label_rate_hz=rate)
    with pytest.raises(InputError) as caught:
        import_corpus("table", table_source.folder, tmp_path / "out", config)
    assert (
        str(caught.value)
        .splitlines()[1]
        .endswith(
            "labels/a.csv: no frame of recording a has labels of arousal and valence after they are moved earlier "
            "by the rater lag of 19 s"
        )
    )


@pytest.mark.parametrize("gold", [None, "mean", "ewe"])
@pytest.mark.parametrize("value", ["inf", "-inf", "1e39"])
def test_ratings_beyond_all_bounds(table_source, tmp_path, gold, value):
    times, values = table_source.traces()
    values[3, 0] = float(value)
    table_source.table(["a,train,A", "b,devel,B"])
    for name in "ab":
        table_source.raters(name, times, arousal_R1=values[:, 0], valence_R1=values[:, 1])
    with pytest.raises(
        InputError, match=rf"raters/a.csv, line 5: R1 is {re.escape(value.replace('e', 'e+'))} at 0.12 s"
    ):
        import_corpus("table", table_source.folder, tmp_path / "out", ImportConfig(gold=gold))


@pytest.mark.parametrize("rate", [None, 25.0])
def test_gold_beyond_all_bounds(table_source, tmp_path, rate):
    times, values = table_source.traces()
    values[3, 1] = 1e39
    table_source.labels("b", times, values)
    with pytest.raises(
        InputError, match=r"labels/b.csv, line 5: valence is 1e\+39 at 0.12 s, but labels are expected in \[-1"
    ):
        import_corpus("table", table_source.folder, tmp_path / "out", ImportConfig(label_rate_hz=rate))


def test_a_label_file_without_values_to_resample(table_source, tmp_path):
    times, values = table_source.traces()
    table_source.labels("b", times, values * np.nan)
    with pytest.raises(InputError, match=r"labels/b.csv: no frame of recording b has labels of arousal and valence\n"):
        import_corpus("table", table_source.folder, tmp_path / "out", ImportConfig(label_rate_hz=25.0))


def test_a_notice_in_another_encoding(table_source, tmp_path):
    (table_source.folder / "NOTICE").write_bytes("© Universität".encode("latin-1"))
    made = import_corpus("table", table_source.folder, tmp_path / "out")
    assert open_corpus(made.path).manifest.notice.endswith("Universit�t")


@pytest.mark.parametrize(
    ("dead", "said"), [([2], "channel 3; it is left"), ([2, 7], "channels 3 and 8; they are left")]
)
def test_dead_channels_are_told(table_source, tmp_path, dead, said):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (32_000, 1)).repeat(8, axis=1)
    samples[:, dead] = 0.25
    soundfile.write(table_source.folder / "audio" / "b.wav", samples, 16_000)
    made = import_corpus("table", table_source.folder, tmp_path / "out")
    assert made.warnings == (f"{table_source.folder}/audio/b.wav has no signal in {said} out of the mean of channels",)


def test_labels_of_a_very_short_recording_are_not_suspected(previewed, table_source):
    table_source.audio("b", noise(100))
    (warning,) = previewed().warnings
    assert warning.startswith("labels of b end at 2.04 s")


def test_a_recording_that_begins_behind_its_audio(table_source):
    first, *others = table.read(table_source.folder).sources
    beyond = replace(first, start_s=2.0)
    with pytest.raises(InputError, match=r"recording a begins at 2.00 s, but .*a.wav lasts 2.00 s"):
        preview.preview([beyond, *others], AS_THEY_ARE, None, (), table_source.folder, 1)


def test_labels_that_may_not_be_read_any_more(table_source, tmp_path, monkeypatch):
    read, seen = table.read_traces, []

    def denied(path):
        seen.append(path)
        if len(seen) > 4:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(table, "read_traces", denied)
    with pytest.raises(InputError, match=r"4 mistakes\n  \[Errno 13\] Permission denied: '.*labels/a.csv'"):
        import_corpus("table", table_source.folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("end_s", "said"),
    [
        (0.92, ("a has no labels in its first 0.00 s and last 1.04 s: they are left out",)),
        (1.0, ()),
    ],
)
def test_irregular_labels_that_end_early_are_told(table_source, tmp_path, end_s, said):
    times, values = table_source.traces()
    rows = times <= end_s + 1e-9
    table_source.labels("a", times[rows], values[rows])
    made = import_corpus("table", table_source.folder, tmp_path / "out", ImportConfig(label_rate_hz=25.0))
    assert made.warnings == said


@pytest.mark.parametrize(
    ("silent", "said"), [(26, ("R1 rated only a part of a: up to 26 of 51 frames lack their ratings",)), (25, ())]
)
def test_irregular_ratings_that_begin_late_are_told(table_source, tmp_path, silent, said):
    times, values = table_source.traces()
    late = values.copy()
    late[:silent] = np.nan
    table_source.raters("a", times, arousal_R1=late[:, 0], arousal_R2=values[:, 0], valence_R2=values[:, 1])
    config = ImportConfig(label_rate_hz=25.0, alignment="start")
    assert import_corpus("table", table_source.folder, tmp_path / "out", config).warnings == said
