"""Files of a corpus that a disk, a copy or a hand has damaged: each is named, or what is read is what was written.

The reading goes on in processes of their own, so that one that Arrow ends is seen, and not the end of all tests.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from check_cases import write_sound

from ser_ray.corpus import open_corpus
from ser_ray.corpus.store.reader import read_index
from ser_ray.corpus.store.verifying import verify_shards
from ser_ray.errors import InputError

FLIPS = 300
SHARD, INDEX = "shards/00000.arrow", "index.parquet"
READER = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from test_corpus_damage import answers
answers(Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "verified")
"""


def content_of(folder, *, verified):
    """All that a corpus holds, or the message of why it is not read; `verified` as a run does."""
    try:
        corpus = open_corpus(folder)
        if verified:
            verify_shards(corpus.path, corpus.manifest)
        held = [corpus.fingerprint, corpus.targets, corpus.label_rate]
        for partition in ("train", "devel", "test"):
            for recording in corpus.recordings(partition):
                waveform, gold = corpus.crop(recording, 0, recording.frames)
                ratings = {target: traces.tobytes() for target, traces in corpus.ratings(recording).items()}
                held += [repr(recording), waveform.tobytes(), gold.tobytes(), ratings]
    except InputError as error:
        return str(error)
    return held


def damaged(content, kind):
    """Yield a file's bytes, each time with something wrong in them."""
    rng = random.Random(13)
    if kind == "flips":
        for _ in range(FLIPS):
            changed = bytearray(content)
            changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            yield bytes(changed)
    if kind == "structure":  # where the bytes are few kinds: schema, headers, offsets and footer, not sound
        step = 64
        blocks = [start for start in range(0, len(content), step) if len(set(content[start : start + step])) < 30]
        for _ in range(FLIPS):
            changed = bytearray(content)
            place = min(rng.choice(blocks) + rng.randrange(step), len(content) - 1)
            changed[place] = rng.choice([0, 0x7F, 0x80, 0xFF, changed[place] ^ 1 << rng.randrange(8)])
            yield bytes(changed)
    if kind == "ranges":
        for length in (8, 64, 512, 4096, len(content)):
            for start in (0, max(0, len(content) - length), *(rng.randrange(len(content)) for _ in range(10))):
                piece = content[start : start + length]
                yield content[:start] + bytes(len(piece)) + content[start + len(piece) :]
                yield content[:start] + b"\xff" * len(piece) + content[start + len(piece) :]
    if kind == "cuts":
        for length in [0, 1, 7, 8, 12, len(content) - 1, *(rng.randrange(len(content)) for _ in range(20))]:
            yield content[:length]
        yield content + b"\0"
        yield content + content


def answers(folder, name, verified):
    """Print how often each answer was given; fail with the first that is neither the same content nor a message."""
    path, sound = folder / name, content_of(folder, verified=verified)
    assert isinstance(sound, list)
    original, counts = path.read_bytes(), {"same": 0, "named": 0, "other": 0}
    kinds = ("flips", "structure", "ranges", "cuts") if name == SHARD else ("flips", "ranges", "cuts")
    cases = [(kind, changed) for kind in kinds for changed in damaged(original, kind)]
    for number, (kind, changed) in enumerate(cases):
        path.write_bytes(changed)
        found = content_of(folder, verified=verified)
        if isinstance(found, str):
            assert path.name in found, f"{kind} {number}: {found}"
            assert "\n" not in found, f"{kind} {number}: {found}"
            counts["named"] += 1
        else:
            counts["same" if found == sound else "other"] += 1
    path.write_bytes(original)
    print(json.dumps(counts))


def answered(folder, name, how):
    script = READER.format(path=[str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", script, str(folder), name, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}"
    return json.loads(done.stdout)


def test_a_damaged_index_is_named(tmp_path):
    counts = answered(write_sound(tmp_path / "c"), INDEX, "verified")
    assert (counts["same"], counts["other"]) == (0, 0)
    assert counts["named"] > FLIPS


def test_a_damaged_shard_is_named_before_anybody_trains_on_it(tmp_path):
    counts = answered(write_sound(tmp_path / "c"), SHARD, "verified")
    assert counts["other"] == 0
    assert counts["named"] > 2 * FLIPS


def test_a_damaged_shard_ends_no_process_that_does_not_hash_it(tmp_path):
    """Samples may be others then, which only their hash can tell."""
    assert answered(write_sound(tmp_path / "c"), SHARD, "as it is")["named"] > FLIPS / 2


def test_files_in_each_others_place_are_named(tmp_path):
    one, other = (write_sound(tmp_path / name, shard_bytes=1) for name in ("one", "other"))
    shards = [one / "shards" / f"0000{number}.arrow" for number in (0, 1)]
    contents = [shard.read_bytes() for shard in shards]
    assert len({len(content) for content in contents}) == 1
    for shard, content in zip(shards, reversed(contents), strict=True):
        shard.write_bytes(content)
    with pytest.raises(InputError, match=r"shard .*/0000[01].arrow was altered: its SHA-256 is"):
        verify_shards(one, open_corpus(one).manifest)
    index = other / "index.parquet"
    index.write_bytes(contents[0])
    with pytest.raises(InputError, match=r"index.parquet was altered"):
        open_corpus(other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "name is 3, but must be a string"),
        ({"label_rate": -25.0}, "label_rate is -25.0, but must be a number above 0"),
        ({"label_rate": float("nan")}, "label_rate is nan"),
        ({"label_rate": 10**400}, r"label_rate is 1000.*\.\.\., but must be a number"),
        ({"label_rate": True}, "label_rate is True"),
        ({"label_rate": 30}, "label rate is 30 Hz, which is not a whole number"),
        ({"sample_rate": 44100}, "sample_rate is 44100, but must be 16000"),
        ({"targets": ["arousal", "arousal"]}, "targets are .*, but must be unique names"),
        ({"targets": [["arousal"], 3]}, "targets are .*, but must be unique names"),
        ({"targets": 3}, "is not a corpus manifest"),
        ({"fingerprint": "xyz"}, "fingerprint is 'xyz', but must be 16 hexadecimal digits"),
        ({"index_sha256": "00"}, "index_sha256 is '00'"),
        ({"preparation": [1]}, "preparation is .*, but must be an object of strings"),
        ({"schema_version": "3"}, r"schema_version is '3'"),
        ({"schema_version": -1}, r"schema_version is -1"),
        ({"shards": {}, "unknown": 1}, "unexpected keyword argument 'unknown'"),
    ],
)
def test_a_manifest_that_no_import_writes_is_refused_by_key(small_corpus, change, message):
    manifest = small_corpus / "corpus.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **change}))
    with pytest.raises(InputError, match=rf"corpus.json.*{message}"):
        open_corpus(small_corpus)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../../elsewhere.arrow"}, "must be the name of a file in shards/"),
        ({"name": "/etc/passwd"}, "must be the name of a file in shards/"),
        ({"name": ".."}, "but must be the name of a file in shards/"),
        ({"name": "a\n\x1b[2J"}, r"name is 'a\\n\\x1b\[2J'"),
        ({"name": None}, "name is None"),
        ({"sha256": "F" * 64}, "must be 64 hexadecimal digits"),
        ({"size_bytes": -1}, "size_bytes is -1"),
        ({"size_bytes": 2**61}, "size_bytes is 2305843009213693952"),
        ({"size_bytes": 1.5}, "size_bytes is 1.5"),
        ({"size_bytes": True}, "size_bytes is True"),
        ({"more": 1}, "unexpected keyword argument 'more'"),
    ],
)
def test_an_entry_of_a_shard_that_no_import_writes_is_refused(small_corpus, change, message):
    manifest = small_corpus / "corpus.json"
    values = json.loads(manifest.read_text())
    values["shards"][0] |= change
    manifest.write_text(json.dumps(values))
    with pytest.raises(InputError, match=rf"corpus.json.*{message}"):
        open_corpus(small_corpus)


def test_a_shard_that_is_listed_twice_is_refused(small_corpus):
    manifest = small_corpus / "corpus.json"
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**values, "shards": values["shards"] * 2}))
    with pytest.raises(
        InputError,
        match=r"shards\[1\].name is '00000.arrow', which is the name of an earlier shard; names must be unique",
    ):
        open_corpus(small_corpus)


@pytest.mark.parametrize("text", [b"[" * 100_000, b"\xff\xfe{}", b'{"schema_version": ' + b"9" * 10_000 + b"}", b""])
def test_a_manifest_that_is_no_text_of_ours_is_refused(small_corpus, text):
    (small_corpus / "corpus.json").write_bytes(text)
    with pytest.raises(InputError, match=r"corpus.json is not a corpus manifest"):
        open_corpus(small_corpus)


def test_a_flipped_bit_of_the_manifest_is_named_or_changes_nothing_that_counts(small_corpus):
    path = small_corpus / "corpus.json"
    original, sound, rng = path.read_bytes(), content_of(small_corpus, verified=True), random.Random(7)
    for _ in range(FLIPS):
        changed = bytearray(original)
        changed[rng.randrange(len(original))] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        found = content_of(small_corpus, verified=True)
        assert str(small_corpus) in found if isinstance(found, str) else found == sound


def test_an_index_is_read_from_memory_that_is_not_pythons(tiny_corpus, monkeypatch):
    """A thread of Arrow's that lets go of Python's memory while the process ends would abort it (1 of 40 ends)."""
    before, owned, reader = pa.total_allocated_bytes(), [], pa.BufferReader

    def note(content):
        owned.append(pa.total_allocated_bytes() - before >= len(content))
        return reader(content)

    monkeypatch.setattr(pa, "BufferReader", note)
    read_index(tiny_corpus.path, tiny_corpus.manifest)
    assert owned == [True]
