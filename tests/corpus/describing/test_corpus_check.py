"""What a check finds where bytes, index and shards are not as written: each provoked in a corpus made for it, alone."""

import hashlib
import json
import tracemalloc
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from check_cases import (
    FRAMES,
    change_index,
    change_shard,
    gold_of,
    index_recordings,
    only,
    row,
    said,
    seal,
    with_column,
    write_sound,
)
from corpus_cases import noise

from ser_ray.corpus.__main__ import main
from ser_ray.corpus.describing.check import check_corpus
from ser_ray.corpus.describing.inspection import inspect_recording
from ser_ray.corpus.store.manifest import read_manifest
from ser_ray.corpus.store.raters import RATERS_FILE, rater_rows, write_raters
from ser_ray.errors import InputError


@pytest.fixture
def make(tmp_path):
    """Write a corpus of three sound recordings and of rows; return its folder."""
    return partial(write_sound, tmp_path / "c")


def test_a_sound_corpus(make, capsys):
    folder = make()
    size = (folder / "shards" / "00000.arrow").stat().st_size / 1e9
    assert main(["check", str(folder)]) == 0
    assert capsys.readouterr().out == (
        f"{folder}: checked 3 recordings (0.00 h, 2 with gold) in 1 shard ({size:.3g} GB): 0 wrong, 0 warnings\n"
    )


def test_exit_codes(make, capsys):
    clipped = np.clip(noise(FRAMES * 640, 9).astype(np.int32) * 3, -32768, 32767).astype(np.int16)
    clipped[:100] = 32767
    folder = make(row("loud", "train", 9, audio=clipped))
    assert main(["check", str(folder)]) == 0  # a warning alone
    assert capsys.readouterr().out.endswith("0 wrong, 1 warning\n")
    change_index(folder, a={"speaker": "S2"})
    assert main(["check", str(folder)]) == 1
    assert capsys.readouterr().out.endswith("1 wrong, 1 warning\n")


def test_several_processes_find_the_same(make):
    folder = make(*(row(f"n{i}", "train", 1) for i in range(4)), shard_bytes=2**17)
    assert len(list((folder / "shards").iterdir())) > 1
    assert said(folder, jobs=2) == said(folder) != []
    with pytest.raises(InputError, match="jobs is 0, but must be at least 1"):
        check_corpus(folder, jobs=0)


def test_what_is_no_corpus(tmp_path, make):
    with pytest.raises(InputError, match="does not exist, so it is not a corpus"):
        check_corpus(tmp_path / "nothing")
    folder = make()
    (folder / "index.parquet").unlink()
    (line, last) = check_corpus(folder).lines()
    assert line == f"wrong: {folder} lacks index.parquet: the corpus is incomplete; import it again"
    assert last == f"{folder} cannot be opened; nothing else was checked: 1 wrong, 0 warnings"


def test_an_altered_byte(make):
    folder = make()
    shard = folder / "shards" / "00000.arrow"
    written = read_manifest(folder / "corpus.json").shards[0].sha256
    content = bytearray(shard.read_bytes())
    place = content.index(noise(FRAMES * 640, 2).tobytes())  # of recording b
    content[place + 101] ^= 64
    shard.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    altered, moved = said(folder)
    assert altered == (
        f"wrong: shard shards/00000.arrow was altered: its SHA-256 is {found}, but corpus.json says {written}; copy it "
        "again or import the corpus again"
    )
    assert moved.startswith("wrong: b: samples have mean ")
    assert ", but the index says " in moved


def test_a_shard_cut_short(make):
    folder = make()
    shard = folder / "shards" / "00000.arrow"
    shard.write_bytes(shard.read_bytes()[:-1])
    (line, _) = check_corpus(folder).lines()
    assert "it is truncated or was altered" in line


def test_a_shard_that_is_no_arrow_file(make):
    folder = make()
    recordings = index_recordings(folder)
    (folder / "shards" / "00000.arrow").write_bytes(b"x" * 1000)
    seal(folder, recordings)
    assert only(folder).startswith("wrong: shard shards/00000.arrow cannot be read (")


def test_a_shard_of_another_schema(make):
    folder = make()
    seal(folder, index_recordings(folder), targets=("arousal", "liking"))
    line = only(folder)
    assert line.startswith(
        "wrong: shard shards/00000.arrow has the columns audio large_list<item: int16>, gold_arousal"
    )
    assert ", but for targets arousal, liking it must have audio large_list<item: int16>, gold_arousal" in line
    assert line.endswith(": import the corpus again")


def test_a_file_that_is_not_listed(make):
    folder = make()
    (folder / "shards" / "00007.arrow").write_bytes(b"")
    assert only(folder) == "warning: shards/00007.arrow is not listed in corpus.json: nothing reads it; delete it"


def test_index_and_shards_differ_in_length(make):
    folder = make()
    change_index(folder, a={"samples": FRAMES * 640 - 640, "frames": FRAMES - 1})
    assert said(folder) == [
        "wrong: a: has 16000 samples, but the index says 15360 samples and 24 frames of 640",
        "wrong: a: gold of arousal has 25 frames, but the index says 24",
        "wrong: a: gold of valence has 25 frames, but the index says 24",
        "wrong: a: arousal of rater R1 has 25 frames, but the index says 24",
        "wrong: a: arousal of rater R2 has 25 frames, but the index says 24",
    ]


def test_samples_and_frames_that_do_not_fit(make):
    folder = make()
    change_index(folder, b={"samples": 16001}, c={"frames": 10})
    assert said(folder) == [
        "wrong: b: has 16000 samples, but the index says 16001 samples and 25 frames of 640",
        "wrong: c: has 16000 samples, but the index says 16000 samples and 10 frames of 640",
    ]


@pytest.mark.parametrize("field", ["mean", "std"])
def test_moments_that_are_not_those_of_the_samples(make, field):
    folder = make()
    audio = noise(FRAMES * 640, 2).astype(np.float64)
    change_index(folder, b={field: 1.0625})
    said = {"mean": (1.0625, audio.std()), "std": (audio.mean(), 1.0625)}[field]
    assert only(folder) == (
        f"wrong: b: samples have mean {audio.mean():.6g} and deviation {audio.std():.6g}, but the index says "
        f"{said[0]:.6g} and {said[1]:.6g}"
    )


def test_a_moment_that_is_off_by_a_hair_is_found(make):
    folder = make()
    mean = next(r.mean for r in index_recordings(folder) if r.name == "b")
    change_index(folder, b={"mean": mean * (1 + 1e-6)})
    assert only(folder).startswith("wrong: b: samples have mean")


def test_a_batch_of_two_rows_and_one_without_audio(make):
    folder = make()

    def twice(batches):
        table = pa.Table.from_batches([batches[0], batches[0]]).combine_chunks()
        return [*table.to_batches(), with_column(batches[1], "audio", None), batches[2]]

    change_shard(folder, twice)
    assert said(folder) == [
        "wrong: a: shard shards/00000.arrow: batch 0 does not contain exactly one recording",
        "wrong: b: shard shards/00000.arrow: batch 1 does not contain exactly one recording",
    ]


def test_rows_of_the_index_without_a_batch_and_the_reverse(make):
    folder = make()
    change_index(folder, a={"batch": 3}, b={"shard": "00009.arrow"}, c={"batch": -1})
    assert said(folder) == [
        "wrong: a: is batch 3 of 00000.arrow, which has 3, numbered from 0",
        "wrong: b: is in 00009.arrow, which corpus.json does not list",
        "wrong: c: is batch -1 of 00000.arrow, which has 3, numbered from 0",
        "wrong: batch 0 of 00000.arrow belongs to no recording in index.parquet",
        "wrong: batch 1 of 00000.arrow belongs to no recording in index.parquet",
        "wrong: batch 2 of 00000.arrow belongs to no recording in index.parquet",
    ]
    assert check_corpus(folder).lines()[-1].startswith(f"{folder}: checked 0 recordings ")


def test_two_rows_of_one_batch(make):
    folder = make()
    a, b, c = index_recordings(folder)
    seal(folder, [a, b, replace(c, batch=a.batch, mean=a.mean, std=a.std, labelled=True)])
    assert said(folder) == [
        "wrong: c: is batch 0 of 00000.arrow, and so is a",
        "wrong: batch 2 of 00000.arrow belongs to no recording in index.parquet",
        "wrong: c (test) has the same 16000 samples as a (train): a recording must be in only one partition",
    ]


def test_names_and_partitions(make):
    folder = make()
    change_index(folder, b={"name": "a"}, c={"partition": "dev"})
    assert said(folder) == [
        "wrong: a: several rows of index.parquet have this name; a name must be unique",
        "wrong: c: partition is 'dev', but must be one of train, devel, test",
    ]


def test_gold_and_index_disagree_whether_there_is_some(make):
    folder = make()
    change_index(folder, a={"labelled": False}, c={"labelled": True})
    assert said(folder) == [
        f"wrong: {name}: gold of {target}: the index says that the recording is {what}"
        for name, what in (("a", "not labelled, but the shard has gold"), ("c", "labelled, but the shard has no gold"))
        for target in ("arousal", "valence")
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_gold_that_is_no_number(make, value):
    gold = gold_of(5)
    gold[[4, 9, 11], 1] = value
    assert only(make(row("d", "train", 5, gold=gold))) == (
        "wrong: d: gold of valence is NaN or infinite in 3 of 25 frames, first in frame 4"
    )


def _write_raters(folder, names, target="arousal"):
    ratings = {target: {"R1": gold_of(1)[:, 0], "R2": gold_of(2)[:, 0]}}
    (folder / RATERS_FILE).unlink(missing_ok=True)
    write_raters(folder / RATERS_FILE, [row for name in names for row in rater_rows(name, ratings, "ewe")])


def test_table_of_raters(make):
    folder = make()
    _write_raters(folder, ["a", "b"])
    assert said(folder) == []
    _write_raters(folder, ["a", "nobody"])
    assert only(folder) == "wrong: raters.parquet has a row of arousal in nobody, which the corpus does not contain"
    _write_raters(folder, ["a"], "liking")
    assert only(folder) == "wrong: raters.parquet has a row of liking in a, which the corpus does not contain"
    pq.write_table(pa.table({"recording": ["a"]}), folder / RATERS_FILE)
    assert only(folder).startswith("wrong: raters.parquet has the columns recording, but must have recording, target")
    (folder / RATERS_FILE).write_bytes(b"PAR?")
    assert only(folder).startswith("wrong: raters.parquet cannot be read (")


def test_a_later_manifest_is_told(make):
    folder = make()
    manifest = json.loads((folder / "corpus.json").read_text())
    (folder / "corpus.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    assert "has schema_version 99" in check_corpus(folder).lines()[0]


def test_a_batch_that_cannot_be_read_is_told(make):
    """Offsets that reach beyond the values end the process where nobody looks at them first."""
    folder = make()
    shard = folder / "shards" / "00000.arrow"
    content = bytearray(shard.read_bytes())
    offsets = np.array([0, FRAMES * 640], np.int64).tobytes()
    place = content.index(offsets)
    content[place : place + 16] = np.array([0, 2**40], np.int64).tobytes()
    recordings = index_recordings(folder)
    shard.write_bytes(content)
    seal(folder, recordings)
    assert only(folder).startswith("wrong: a: shard shards/00000.arrow, batch 0, cannot be read (")


def test_memory_does_not_grow_with_a_recording(make):
    rows = []
    for minutes in (10, 30):
        audio = np.resize(noise(16000, minutes), minutes * 960_000)
        rows.append(row(f"r{minutes}", "train", minutes, audio=audio, gold=gold_of(1, minutes * 1500), ratings=None))
    folder = make(*rows)
    most = []
    for recording in index_recordings(folder)[1:3]:
        tracemalloc.start()
        try:
            inspect_recording(recording, folder, ("arousal", "valence"), 640)
            most.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert most[1] < 1.05 * most[0]
