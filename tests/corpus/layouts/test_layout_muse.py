"""The layout `muse`: segments, their gaps and where their audio lies."""

import shutil

import numpy as np
import pytest
from layout_refusals import by_name, edit, labels_of, refusal

from ser_ray.corpus.layouts.muse import WHOLE, read
from ser_ray.corpus.mimics.muse import TASK, VIDEOS, stamps_of, write
from ser_ray.corpus.mimics.people import NOTICE, at_times, person

LAYOUT = "muse"
SECONDS, SEED = 12.0, 3


@pytest.fixture
def arousal(folder):
    return folder / TASK / "label_segments" / "arousal"


def test_recordings_are_the_segments_of_the_mimic(mimic):
    description = read(mimic)
    sources = by_name(description)
    assert set(sources) == {"1_1", "1_2_1", "1_2_2", "1_3", *(f"{v}_{s}" for v in ("2", "5", "11") for s in (1, 2, 3))}
    assert (description.alignment, description.label_rate_hz, description.notice) == ("start", None, NOTICE)
    assert description.warnings == (
        "stretches with fewer than 2 labels are left out, as their rate cannot be determined: 4, such as in 1_4",
    )
    for source in sources.values():
        video, segment = source.name.split("_")[:2]
        assert source.partition == VIDEOS[video]
        assert source.speaker == video
        assert source.extra == {"video": video, "segment": segment}
        assert source.audio == mimic / "raw" / "audio_norm" / f"{video}.wav"
        assert (source.labels is None) == (source.partition == "test")


def test_stretches_cover_the_rows_of_the_mimic(mimic):
    sources = by_name(read(mimic))
    for video in VIDEOS:
        rows = stamps_of(video, SECONDS)
        of_video = [source for source in sources.values() if source.extra["video"] == video]
        for segment in ("1", "2", "3"):
            stamps = [stamp / 1000 for stamp, name in rows if name == segment]
            covered = [s for s in of_video if s.extra["segment"] == segment]
            inside = [t for s in covered for t in np.arange(s.start_s, s.stop_s - 1e-9, 0.25)]
            np.testing.assert_allclose(inside, stamps)  # test segments likewise, though nobody knows their values


@pytest.mark.parametrize("name", ["1_1", "1_2_1", "1_2_2", "2_3", "5_2"])
def test_labels_are_those_of_the_mimic(mimic, name):
    source = by_name(read(mimic))[name]
    labelled = labels_of(source)
    someone = person(list(VIDEOS).index(source.extra["video"]), SECONDS, SEED)
    assert [list(traces.values) for traces in labelled.gold] == [["arousal"], ["valence"]]
    for traces in labelled.gold:
        ((target, values),) = traces.values.items()
        times = np.arange(source.start_s, source.stop_s - 1e-9, 0.25)
        np.testing.assert_allclose(traces.times_s, times - source.start_s, atol=1e-12)
        assert traces.times_s[0] == 0
        np.testing.assert_allclose(values, at_times(someone.gold(target), times), atol=5.1e-6)
        rows = stamps_of(source.extra["video"], SECONDS)
        assert [rows[line - 2][0] / 1000 for line in traces.lines] == times.round(3).tolist()


def test_rows_that_one_target_lacks_split_the_segment(folder, arousal):
    before = by_name(read(folder))["5_1"]
    lines = (arousal / "5.csv").read_text().splitlines()
    del lines[4]  # the fourth row of segment 1
    edit(arousal.parent / "valence" / "5.csv", 9, f"{lines[7].split(',')[0]},1,")  # the eighth has no value
    (arousal / "5.csv").write_text("\n".join(lines) + "\n")
    after = by_name(read(folder))
    found = [(after[f"5_1_{n}"].start_s, after[f"5_1_{n}"].stop_s) for n in (1, 2, 3)]
    t = before.start_s
    assert found == [(t, t + 0.75), (t + 1, t + 1.75), (t + 2, before.stop_s)]


def test_a_segment_without_values_is_left_out_with_a_warning(folder, arousal):
    lines = (arousal / "5.csv").read_text().splitlines()
    lines = [line if ",2," not in line else line[: line.rindex(",") + 1] for line in lines]
    (arousal / "5.csv").write_text("\n".join(lines))
    description = read(folder)
    assert "5_2" not in by_name(description)
    assert "5, such as in" in description.warnings[0]


def test_no_segment_is_long_enough(folder, arousal):
    for video in VIDEOS:
        for target in ("arousal", "valence"):
            (arousal.parent / target / f"{video}.csv").write_text("timestamp,segment_id,value\n500,1,0.5\n")
    assert refusal(lambda: read(folder), folder) == (
        f"SRC/{TASK}/label_segments: no segment of a video in SRC/{TASK}/metadata/partition.csv has two consecutive "
        "labels"
    )


def test_a_short_mimic_has_all_segments_too(tmp_path):
    write(tmp_path, 1.0, SEED)
    assert len(read(tmp_path).sources) == 13


def test_the_task_itself_may_be_given_and_the_table_may_lie_beside_it(folder):
    expected = [(s.name, s.start_s, s.audio) for s in read(folder).sources]
    assert [(s.name, s.start_s, s.audio) for s in read(folder / TASK).sources] == expected
    shutil.move(folder / TASK / "metadata", folder / "metadata")
    assert [(s.name, s.start_s, s.audio) for s in read(folder).sources] == expected
    assert [(s.name, s.start_s, s.audio) for s in read(folder / TASK).sources] == expected


def test_single_raters_are_no_target(folder, arousal):
    expected = [source.name for source in read(folder).sources]
    (arousal.parent / "raw_annotations" / "5.csv").write_text("anything\n")
    description = read(folder)
    assert [source.name for source in description.sources] == expected
    assert len(labels_of(by_name(description)["5_1"]).gold) == 2


def test_a_table_may_name_speakers(folder):
    table = folder / TASK / "metadata" / "partition.csv"
    table.write_text("id,speaker,partition\n1,anna,train\n5,anna,devel\n11,,test\n")
    description = read(folder)
    assert {s.extra["video"]: s.speaker for s in description.sources} == {"1": "anna", "5": "anna", "11": "11"}
    assert description.warnings[-1] == f"videos that {table} does not list are left out: 2"


@pytest.mark.parametrize("place", WHOLE)
def test_audio_of_whole_videos_may_lie_in_several_places(folder, place):
    audio = folder / "elsewhere"
    shutil.move(folder / "raw" / "audio_norm", audio)
    (folder / TASK / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(audio, folder / TASK / place)
    assert by_name(read(folder))["2_1"].audio == folder / TASK / place / "2.wav"


def test_audio_of_single_segments_begins_at_their_first_stamp(folder):
    before = by_name(read(folder))
    shutil.rmtree(folder / "raw")
    for video in VIDEOS:
        for segment in range(1, 5):
            piece = folder / TASK / "audio_segments" / video / f"{video}_{segment}.wav"
            piece.parent.mkdir(parents=True, exist_ok=True)
            piece.write_bytes(b"")
    after = by_name(read(folder))
    assert after["1_1"].audio.name == "1_1.wav"
    assert (after["1_1"].start_s, after["1_2_1"].start_s) == (0, 0)
    assert after["1_2_2"].start_s == before["1_2_2"].start_s - before["1_2_1"].start_s
    for name in after:
        lasts = before[name].stop_s - before[name].start_s
        assert after[name].stop_s - after[name].start_s == pytest.approx(lasts)


def test_another_layout(tmp_path, folder):
    (tmp_path / "labels").mkdir()
    assert refusal(lambda: read(tmp_path / "labels"), tmp_path) == (
        "SRC/labels is not in the layout muse: looked for label_segments/, metadata/partition.csv; missing: "
        "label_segments/ and metadata/partition.csv; it is empty"
    )
    assert "it does not exist" in refusal(lambda: read(tmp_path / "nowhere"), tmp_path)
    shutil.copytree(folder / TASK, folder / "c3_muse_stress")
    assert refusal(lambda: read(folder), folder) == (
        f"SRC contains 2 tasks: import one of them, SRC/{TASK} or SRC/c3_muse_stress"
    )


def test_no_targets(folder):
    labels = folder / TASK / "label_segments"
    shutil.rmtree(labels / "arousal")
    shutil.rmtree(labels / "valence")
    assert refusal(lambda: read(folder), folder) == (
        f"SRC/{TASK}/label_segments has no folder of a target with CSV files, such as arousal/1.csv; it contains "
        "raw_annotations/"
    )


def test_missing_partners_are_named_all_at_once(folder, arousal):
    (folder / "raw" / "audio_norm" / "2.wav").unlink()
    (arousal / "5.csv").unlink()
    (arousal.parent / "valence" / "5.csv").unlink()
    message = refusal(lambda: read(folder), folder)
    assert "SRC: 2 mistakes" in message
    assert (
        f"2.wav is missing: audio of SRC/{TASK}/label_segments/arousal/2.csv; looked for it in raw/audio_norm"
        in message
    )
    assert (
        f"label_segments/*/5.csv is missing: labels of the video in SRC/{TASK}/metadata/partition.csv, line 4"
        in message
    )


def test_test_videos_may_lack_files(folder, arousal):
    for target in ("arousal", "valence"):
        (arousal.parent / target / "11.csv").unlink()
    description = read(folder)
    assert "11" not in {source.extra["video"] for source in description.sources}
    assert description.warnings[-1] == (
        "test videos without label files are left out, as their segments are unknown: 11"
    )


def test_a_segment_in_one_file_alone(folder, arousal):
    edit(arousal / "5.csv", 2, (arousal / "5.csv").read_text().splitlines()[1].replace(",1,", ",9,"))
    assert "valence/5.csv has no segment 9, but that of arousal has it" in refusal(lambda: read(folder), folder)


def test_malformed_labels_name_the_line(folder, arousal):
    rows = (arousal / "1.csv").read_text().splitlines()
    edit(arousal / "1.csv", 3, rows[1])
    edit(arousal / "2.csv", 4, "1000,abc,1")
    edit(arousal / "5.csv", 1, "timestamp,segment,value")
    message = refusal(lambda: read(folder), folder)
    assert "SRC: 3 mistakes" in message
    assert f"arousal/1.csv, line 3: timestamp is {rows[1].split(',')[0]}, but must increase within a segment" in message
    assert "arousal/2.csv, line 4: value is 'abc', which is not a number" in message
    assert "arousal/5.csv lacks the column segment_id; it has timestamp, segment, value" in message
