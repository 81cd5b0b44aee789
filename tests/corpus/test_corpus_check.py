"""Each finding of a check is provoked in a corpus made for it, and no other comes with it."""

import hashlib
import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_cases import noise
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_ray.corpus import CorpusWriter, open_corpus
from ser_ray.corpus.__main__ import main
from ser_ray.corpus.describing.check import SHOWN, check_corpus
from ser_ray.corpus.describing.inspection import clipping, inspect_recording, silence, true_runs
from ser_ray.corpus.raters import RATERS_FILE, rater_rows, write_raters
from ser_ray.corpus.schema import Shard, fingerprint, index_table, manifest_text, read_manifest
from ser_ray.errors import InputError

FRAMES = 25


def _gold(seed, frames=FRAMES):
    return np.random.default_rng(seed).uniform(-1, 1, (frames, 2)).astype(np.float32)


def _row(name, partition, seed, **changes):
    row = {
        "name": name,
        "partition": partition,
        "speaker": f"S{seed}",
        "audio": noise(FRAMES * 640, seed),
        "gold": _gold(seed),
        "ratings": {"arousal": {"R1": _gold(seed + 50)[:, 0], "R2": _gold(seed + 60)[:, 1]}},
    }
    return {**row, **changes}


@pytest.fixture
def make(tmp_path):
    """Write a corpus of three sound recordings and of rows; return its folder."""

    def written(*rows, **options):
        sound = [_row("a", "train", 1), _row("b", "devel", 2), _row("c", "test", 3, gold=None, ratings=None)]
        with CorpusWriter(
            tmp_path / "c", name="c", label_rate=25.0, targets=("arousal", "valence"), **options
        ) as writer:
            for row in [*sound, *rows]:
                writer.add(**row)
        return tmp_path / "c"

    return written


def _seal(folder, recordings, targets=None):
    """Write index and manifest anew, so that they belong to shards as they are."""
    manifest = read_manifest(folder / "corpus.json")
    targets = targets or manifest.targets
    shards = []
    for shard in manifest.shards:
        content = (folder / "shards" / shard.name).read_bytes()
        shards.append(Shard(shard.name, hashlib.sha256(content).hexdigest(), len(content)))
    pq.write_table(index_table(recordings), folder / "index.parquet")
    print_ = fingerprint(shards, recordings, targets=targets, label_rate=25.0)
    sealed = replace(manifest, shards=tuple(shards), targets=targets, fingerprint=print_)
    (folder / "corpus.json").write_text(manifest_text(sealed))


def _recordings(folder):
    corpus = open_corpus(folder)
    return [r for p in ("train", "devel", "test") for r in corpus.recordings(p)]


def _change_index(folder, **changes):
    """Change rows of the index: name = the fields that differ."""
    _seal(folder, [replace(r, **changes.get(r.name, {})) for r in _recordings(folder)])


def _change_shard(folder, change):
    """Write the only shard anew, with other batches."""
    path = folder / "shards" / "00000.arrow"
    recordings = _recordings(folder)
    with pa.ipc.open_file(path) as reader:
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
    batches = change(batches)
    with pa.ipc.new_file(str(path), batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    _seal(folder, recordings)


def _with_column(batch, name, values):
    """Return a batch whose column holds one list of values, or null."""
    place = batch.schema.get_field_index(name)
    field = batch.schema.field(place)
    return batch.set_column(place, field, pa.array([values], field.type))


def _said(folder, **options):
    """Return what a check says, without the folder and its last line."""
    *lines, last = check_corpus(folder, **options).lines()
    assert last.startswith(f"{folder}: looked at ")
    return [line.replace(f"{folder}/", "") for line in lines]


def _only(folder):
    (line,) = _said(folder)
    return line


def test_a_sound_corpus(make, capsys):
    folder = make()
    size = (folder / "shards" / "00000.arrow").stat().st_size / 1e9
    assert main(["check", str(folder)]) == 0
    assert capsys.readouterr().out == (
        f"{folder}: looked at 3 recordings (0.00 h, 2 with gold) in 1 shard ({size:.3g} GB): 0 wrong, 0 warnings\n"
    )


def test_exit_codes(make, capsys):
    clipped = np.clip(noise(FRAMES * 640, 9).astype(np.int32) * 3, -32768, 32767).astype(np.int16)
    clipped[:100] = 32767
    folder = make(_row("loud", "train", 9, audio=clipped))
    assert main(["check", str(folder)]) == 0  # a warning alone
    assert capsys.readouterr().out.endswith("0 wrong, 1 warning\n")
    _change_index(folder, a={"speaker": "S2"})
    assert main(["check", str(folder)]) == 1
    assert capsys.readouterr().out.endswith("1 wrong, 1 warning\n")


def test_several_processes_find_the_same(make):
    folder = make(*(_row(f"n{i}", "train", 1) for i in range(4)), shard_bytes=2**17)
    assert len(list((folder / "shards").iterdir())) > 1
    assert _said(folder, jobs=2) == _said(folder) != []
    with pytest.raises(InputError, match="jobs is 0, but must be at least 1"):
        check_corpus(folder, jobs=0)


def test_what_is_no_corpus(tmp_path, make):
    with pytest.raises(InputError, match="no corpus"):
        check_corpus(tmp_path / "nothing")
    folder = make()
    (folder / "index.parquet").unlink()
    (line, last) = check_corpus(folder).lines()
    assert line == f"wrong: {folder} lacks index.parquet: the corpus is not whole, import it again"
    assert last == f"{folder} cannot be opened, nothing else was looked at: 1 wrong, 0 warnings"


def test_an_altered_byte(make):
    folder = make()
    shard = folder / "shards" / "00000.arrow"
    written = read_manifest(folder / "corpus.json").shards[0].sha256
    content = bytearray(shard.read_bytes())
    place = content.index(noise(FRAMES * 640, 2).tobytes())  # of recording b
    content[place + 101] ^= 64
    shard.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    altered, moved = _said(folder)
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
    assert "it was cut short or altered" in line


def test_a_shard_that_is_no_arrow_file(make):
    folder = make()
    recordings = _recordings(folder)
    (folder / "shards" / "00000.arrow").write_bytes(b"x" * 1000)
    _seal(folder, recordings)
    assert _only(folder).startswith("wrong: shard shards/00000.arrow cannot be read (")


def test_a_shard_of_another_schema(make):
    folder = make()
    _seal(folder, _recordings(folder), targets=("arousal", "liking"))
    line = _only(folder)
    assert line.startswith(
        "wrong: shard shards/00000.arrow has the columns audio large_list<item: int16>, gold_arousal"
    )
    assert ", but of targets arousal, liking it must have audio large_list<item: int16>, gold_arousal" in line
    assert line.endswith(": import the corpus again")


def test_a_file_that_is_not_listed(make):
    folder = make()
    (folder / "shards" / "00007.arrow").write_bytes(b"")
    assert _only(folder) == "warning: shards/00007.arrow is not listed in corpus.json: nothing reads it; delete it"


def test_index_and_shards_differ_in_length(make):
    folder = make()
    _change_index(folder, a={"samples": FRAMES * 640 - 640, "frames": FRAMES - 1})
    assert _said(folder) == [
        "wrong: a: has 16000 samples, but the index says 15360 samples and 24 frames of 640",
        "wrong: a: gold of arousal has 25 frames, but the index says 24",
        "wrong: a: gold of valence has 25 frames, but the index says 24",
        "wrong: a: arousal of rater R1 has 25 frames, but the index says 24",
        "wrong: a: arousal of rater R2 has 25 frames, but the index says 24",
    ]


def test_samples_and_frames_that_do_not_fit(make):
    folder = make()
    _change_index(folder, b={"samples": 16001}, c={"frames": 10})
    assert _said(folder) == [
        "wrong: b: has 16000 samples, but the index says 16001 samples and 25 frames of 640",
        "wrong: c: has 16000 samples, but the index says 16000 samples and 10 frames of 640",
    ]


@pytest.mark.parametrize("field", ["mean", "std"])
def test_moments_that_are_not_those_of_the_samples(make, field):
    folder = make()
    audio = noise(FRAMES * 640, 2).astype(np.float64)
    _change_index(folder, b={field: 1.0625})
    said = {"mean": (1.0625, audio.std()), "std": (audio.mean(), 1.0625)}[field]
    assert _only(folder) == (
        f"wrong: b: samples have mean {audio.mean():.6g} and deviation {audio.std():.6g}, but the index says "
        f"{said[0]:.6g} and {said[1]:.6g}"
    )


def test_a_moment_that_is_off_by_a_hair_is_found(make):
    folder = make()
    mean = next(r.mean for r in _recordings(folder) if r.name == "b")
    _change_index(folder, b={"mean": mean * (1 + 1e-6)})
    assert _only(folder).startswith("wrong: b: samples have mean")


def test_a_batch_of_two_rows_and_one_without_audio(make):
    folder = make()

    def twice(batches):
        table = pa.Table.from_batches([batches[0], batches[0]]).combine_chunks()
        return [*table.to_batches(), _with_column(batches[1], "audio", None), batches[2]]

    _change_shard(folder, twice)
    assert _said(folder) == [
        "wrong: a: batch 0 of 00000.arrow does not hold one recording",
        "wrong: b: batch 1 of 00000.arrow does not hold one recording",
    ]


def test_rows_of_the_index_without_a_batch_and_the_reverse(make):
    folder = make()
    _change_index(folder, a={"batch": 3}, b={"shard": "00009.arrow"}, c={"batch": -1})
    assert _said(folder) == [
        "wrong: a: is batch 3 of 00000.arrow, which has 3, from 0",
        "wrong: b: lies in 00009.arrow, which corpus.json does not list",
        "wrong: c: is batch -1 of 00000.arrow, which has 3, from 0",
        "wrong: batch 0 of 00000.arrow is no recording of index.parquet",
        "wrong: batch 1 of 00000.arrow is no recording of index.parquet",
        "wrong: batch 2 of 00000.arrow is no recording of index.parquet",
    ]
    assert check_corpus(folder).lines()[-1].startswith(f"{folder}: looked at 0 recordings ")


def test_two_rows_of_one_batch(make):
    folder = make()
    a, b, c = _recordings(folder)
    _seal(folder, [a, b, replace(c, batch=a.batch, mean=a.mean, std=a.std, labelled=True)])
    assert _said(folder) == [
        "wrong: c: is batch 0 of 00000.arrow, as a is",
        "wrong: batch 2 of 00000.arrow is no recording of index.parquet",
        "wrong: c (test) has the same 16000 samples as a (train): a recording must be in one partition alone",
    ]


def test_names_and_partitions(make):
    folder = make()
    _change_index(folder, b={"name": "a"}, c={"partition": "dev"})
    assert _said(folder) == [
        "wrong: a: several rows of index.parquet have this name; a name must be unique",
        "wrong: c: partition is 'dev', but must be one of train, devel, test",
    ]


def test_gold_and_index_disagree_whether_there_is_some(make):
    folder = make()
    _change_index(folder, a={"labelled": False}, c={"labelled": True})
    assert _said(folder) == [
        f"wrong: {name}: gold of {target}: the index says it is {what}"
        for name, what in (("a", "not labelled, but has some"), ("c", "labelled, but has none"))
        for target in ("arousal", "valence")
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_gold_that_is_no_number(make, value):
    gold = _gold(5)
    gold[[4, 9, 11], 1] = value
    assert _only(make(_row("d", "train", 5, gold=gold))) == (
        "wrong: d: gold of valence is no number in 3 of 25 frames, first in frame 4"
    )


def test_gold_outside_its_range(make):
    gold = _gold(5)
    gold[:2, 0] = -1.5, 1.00001
    gold[3, 1] = -1.25
    low, high = gold[:, 1].min(), gold[:, 1].max()
    assert _said(make(_row("d", "train", 5, gold=gold))) == [
        "warning: d: gold of arousal lies in [-1.5, 1.00001], but labels are expected in [-1, 1]",
        f"warning: d: gold of valence lies in [{low:g}, {high:g}], but labels are expected in [-1, 1]",
    ]


def test_gold_at_the_ends_of_its_range(make):
    gold = _gold(5)
    gold[:2, 0] = -1, 1
    assert _said(make(_row("d", "train", 5, gold=gold))) == []


def test_constant_gold(make):
    gold = _gold(5)
    gold[:, 0] = 0.25
    assert _only(make(_row("d", "train", 5, gold=gold))) == (
        "warning: d: gold of arousal is 0.25 throughout: no CCC can be taken of it"
    )


def test_ratings(make):
    fine, high, endless, none = (_gold(seed)[:, 0].copy() for seed in range(5, 9))
    fine[3:9] = np.nan  # the rater says nothing: legal
    high[3], endless[:2], none[:] = 1.25, np.inf, np.nan
    ratings = {"arousal": {"fine": fine, "high": high, "endless": endless, "none": none}}
    assert _said(make(_row("d", "train", 5, ratings=ratings))) == [
        f"warning: d: arousal of rater high lies in [{high.min():g}, 1.25], but labels are expected in [-1, 1]",
        "warning: d: arousal of rater none has no rating in any frame",
        "wrong: d: arousal of rater endless is infinite in 2 frames",
    ]


def test_clipping(make):
    audio = noise(FRAMES * 640, 5) // 2
    audio[1000:1004] = 32767
    audio[5000:5007] = -32768
    audio[6000:6030:10] = -32767  # alone
    assert _only(make(_row("d", "train", 5, audio=audio))) == (
        "warning: d: 0.09% of its samples are at full scale, up to 7 at once (0.4 ms): clipped?"
    )


def test_loud_is_not_clipped(make):
    audio = noise(FRAMES * 640, 5)
    audio[::400] = 32767  # often, but never two in a row
    audio[1:1000:3] = -32768
    rarely = noise(FRAMES * 640 * 5, 6)
    rarely[10:17] = 32767  # a run, but seven samples of 80,000
    few = _row("e", "train", 6, audio=rarely, gold=_gold(6, 125), ratings=None)
    assert _said(make(_row("d", "train", 5, audio=audio), few)) == []


def test_silence(make):
    audio = noise(8 * 16000, 5)
    audio[16000:] = 300 + noise(7 * 16000, 6) // 5000  # an offset and four steps of noise
    whole = _row("d", "train", 5, audio=audio, gold=_gold(5, 200), ratings=None)
    assert _only(make(whole)) == "warning: d: silent for 7.0 s at once and 87.5% in all (below -70 dBFS)"


def test_a_silence_of_five_seconds_in_much_speech(make):
    audio = noise(16 * 16000, 5)
    audio[16000 : 6 * 16000] = 0
    assert _only(make(_row("d", "train", 5, audio=audio, gold=_gold(5, 400), ratings=None))) == (
        "warning: d: silent for 5.0 s at once and 31.2% in all (below -70 dBFS)"
    )


def test_pauses_are_no_silence(make):
    audio = noise(12 * 16000, 5)
    audio[16000 : 6 * 16000 - 1600] = 0  # 4.9 s
    assert _said(make(_row("d", "train", 5, audio=audio, gold=_gold(5, 300), ratings=None))) == []


def test_silence_in_many_pieces(make):
    audio = noise(8 * 16000, 5)
    audio.reshape(-1, 16000)[:, 4800:] = 0
    assert _only(make(_row("d", "train", 5, audio=audio, gold=_gold(5, 200), ratings=None))) == (
        "warning: d: silent for 0.7 s at once and 70.0% in all (below -70 dBFS)"
    )


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 7))
def test_runs_against_counting(flags, piece):
    longest = current = 0
    for flag in flags:
        current = current + 1 if flag else 0
        longest = max(longest, current)
    blocks = [np.array(flags[start : start + piece]) for start in range(0, len(flags), piece)]
    assert true_runs(blocks) == (sum(flags), longest)


def test_clipping_and_silence_across_blocks():
    audio = noise(3 * 960_000 + 7, 1)
    audio[960_000 - 20 : 960_000 + 30] = 32767
    share, run = clipping(audio)
    assert (share, run) == (50 / audio.size, 50)
    audio[1_900_800:2_000_000] = 0
    assert silence(audio) == (62 / 1800, 6.2)
    assert silence(audio[:100]) == (0, 0)


def test_a_speaker_in_two_partitions(make):
    folder = make(_row("d", "test", 5, speaker="S1"), _row("e", "devel", 6, speaker="S1"))
    assert _only(folder) == (
        "wrong: speaker S1 is heard in train (a), devel (e), test (d): move all of them to one partition"
    )


@pytest.mark.parametrize("column", ["dyad", "Group_id", "GROUP", "Session", "conversation", "video"])
def test_a_dyad_in_two_partitions(make, column):
    rows = [_row(n, p, s, extra={column: d}) for n, p, s, d in [("d", "train", 5, "12"), ("e", "devel", 6, "12")]]
    alone = _row("f", "test", 7, extra={column: "13"})
    assert _only(make(*rows, alone)) == (
        f"wrong: {column} 12 is heard in train (d), devel (e): move all of them to one partition"
    )


def test_the_same_samples_in_one_partition_and_in_two(make):
    rows = [_row("d", "train", 5, audio=noise(FRAMES * 640, 1)), _row("e", "test", 6, audio=noise(FRAMES * 640, 1))]
    almost = noise(FRAMES * 640, 1)
    almost[-1] += 1
    assert _said(make(*rows, _row("f", "devel", 7, audio=almost))) == [
        "warning: d (train) has the same 16000 samples as a: they count twice in train",
        "wrong: e (test) has the same 16000 samples as a (train): a recording must be in one partition alone",
    ]


def test_many_findings_are_counted(make):
    rows = [_row(f"n{i}", "train", 10 + i, gold=np.full((FRAMES, 2), 0.5, np.float32)) for i in range(6)]
    folder = make(*rows)
    lines = _said(folder)
    assert len(lines) == SHOWN + 1
    assert lines[0] == "warning: n0: gold of arousal is 0.5 throughout: no CCC can be taken of it"
    assert lines[-1] == "warning: and 7 more of this kind (constant)"
    assert check_corpus(folder).lines()[-1].endswith(": 0 wrong, 12 warnings")


def _write_raters(folder, names, target="arousal"):
    ratings = {target: {"R1": _gold(1)[:, 0], "R2": _gold(2)[:, 0]}}
    (folder / RATERS_FILE).unlink(missing_ok=True)
    write_raters(folder / RATERS_FILE, [row for name in names for row in rater_rows(name, ratings, "ewe")])


def test_table_of_raters(make):
    folder = make()
    _write_raters(folder, ["a", "b"])
    assert _said(folder) == []
    _write_raters(folder, ["a", "nobody"])
    assert _only(folder) == "wrong: raters.parquet tells of arousal in nobody, which the corpus does not hold"
    _write_raters(folder, ["a"], "liking")
    assert _only(folder) == "wrong: raters.parquet tells of liking in a, which the corpus does not hold"
    pq.write_table(pa.table({"recording": ["a"]}), folder / RATERS_FILE)
    assert _only(folder).startswith("wrong: raters.parquet has the columns recording, but must have recording, target")
    (folder / RATERS_FILE).write_bytes(b"PAR?")
    assert _only(folder).startswith("wrong: raters.parquet cannot be read (")


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
    recordings = _recordings(folder)
    shard.write_bytes(content)
    _seal(folder, recordings)
    assert _only(folder).startswith("wrong: a: batch 0 of 00000.arrow cannot be read (")


def test_memory_does_not_grow_with_a_recording(make):
    rows = []
    for minutes in (10, 30):
        audio = np.resize(noise(16000, minutes), minutes * 960_000)
        rows.append(_row(f"r{minutes}", "train", minutes, audio=audio, gold=_gold(1, minutes * 1500), ratings=None))
    folder = make(*rows)
    most = []
    for recording in _recordings(folder)[1:3]:
        tracemalloc.start()
        try:
            inspect_recording(recording, folder, ("arousal", "valence"), 640)
            most.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert most[1] < 1.05 * most[0]
