"""Copies on a node's own disk: of several processes one copies, and what looks whole is whole."""

import os
import signal
import tempfile
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from staging_cases import (
    STOP_IN_THE_MIDDLE,
    assert_equal,
    child,
    children,
    copy_of,
    files,
    finished,
    lines_until,
    place,
    write,
)

from ser_ray.corpus import CorpusWriter, open_corpus
from ser_ray.corpus.store import local_copy as staging
from ser_ray.corpus.store.local_copy import staged
from ser_ray.errors import InputError


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "source")


@pytest.fixture
def disk(tmp_path):
    return tmp_path / "disk"


@settings(deadline=None, max_examples=10)
@given(
    lengths=st.lists(st.integers(640, 9000), min_size=1, max_size=5),
    shard_bytes=st.sampled_from([1, 30_000, 2**30]),
    block=st.sampled_from([1_000, 2**23]),
    seed=st.integers(0, 99),
)
def test_a_copy_is_equal_byte_for_byte(lengths, shard_bytes, block, seed):
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging, "BLOCK_BYTES", block)
        source, said = Path(folder) / "source", []
        with CorpusWriter(source, name="c", label_rate=25, targets=("a",), shard_bytes=shard_bytes) as writer:
            for number, length in enumerate(lengths):
                writer.add(f"r{number}", "devel", "s", rng.integers(-99, 99, length).astype(np.int16), None)
        before = {name: (source / name).stat().st_mtime_ns for name in files(source)}
        expected, looked_whole = copy_of(source, Path(folder) / "a" / "disk"), []
        look = lambda: looked_whole.append((expected / "corpus.json").exists())  # noqa: E731
        copy = staged(source, Path(folder) / "a" / "disk", None, said.append, look)
        assert copy == expected
        assert looked_whole
        assert not any(looked_whole)  # up to its last byte
        assert_equal(source, copy)
        assert {name: (source / name).stat().st_mtime_ns for name in files(source)} == before
        assert said[0].startswith("copying corpus c (")
        assert said[1].startswith("copied in ")
        original, there = open_corpus(source), open_corpus(copy)
        for one, other in zip(original.recordings("devel"), there.recordings("devel"), strict=True):
            np.testing.assert_array_equal(original.audio(one), there.audio(other))
        staging._HELD.pop(copy).close()


def test_a_second_time_nothing_is_copied_or_said(source, disk):
    said = []
    copy = staged(source, disk, None, said.append)
    kept = {name: (copy / name).stat().st_ino for name in files(copy)}
    assert staged(source, disk, None, said.append) == copy
    assert len(said) == 2
    assert finished(child(source, disk)).splitlines() == [f"AT {copy}"]
    assert {name: (copy / name).stat().st_ino for name in files(copy)} == kept


def test_nobody_else_can_look_into_it(source, disk):
    copy = staged(source, disk, None, print)
    assert place(disk).stat().st_mode & 0o777 == 0o700
    assert copy.parent == place(disk)


def test_of_several_processes_that_begin_at_once_one_copies(source, disk):
    processes = [child(source, disk, look="lambda: time.sleep(0.05)") for _ in range(4)]
    with children(*processes):
        said = [lines_until(process, "AT ") for process in processes]
        assert {lines[-1] for lines in said} == {f"AT {copy_of(source, disk)}"}
        assert [any(line.startswith("copying") for line in lines) for lines in said].count(True) == 1
        assert_equal(source, copy_of(source, disk))


def test_the_others_are_told_once_for_whom_they_wait(source, disk):
    copier = child(source, disk, before=STOP_IN_THE_MIDDLE, look="look")
    with children(copier):
        lines_until(copier, "MIDDLE")
        others = [child(source, disk) for _ in range(3)]
        with children(*others):
            waiting = f"waiting for process {copier.pid}, which copies corpus c to {copy_of(source, disk)}"
            said = [lines_until(process, "waiting") for process in others]
            copier.stdin.write("\n")
            copier.stdin.flush()
            for process, lines in zip(others, said, strict=True):
                assert lines + lines_until(process, "AT ") == [waiting, f"AT {copy_of(source, disk)}"]


def test_after_a_copier_was_killed_the_next_goes_on_with_whole_shards(source, disk):
    copy = copy_of(source, disk)
    killed = child(source, disk, before=STOP_IN_THE_MIDDLE, look="look")
    with children(killed):
        lines_until(killed, "MIDDLE")
        waiting = child(source, disk)
        with children(waiting):
            lines_until(waiting, f"waiting for process {killed.pid}, ")
            assert not (copy / "corpus.json").exists()
            done = {path.name: path.stat().st_ino for path in (copy / "shards").glob("*.arrow")}
            assert 0 < len(done) < 4
            killed.send_signal(signal.SIGKILL)
            assert lines_until(waiting, "AT ")[-1] == f"AT {copy}"
    assert_equal(source, copy)
    assert {name: (copy / "shards" / name).stat().st_ino for name in done} == done


def test_what_a_killed_copier_left_is_not_trusted(source, disk):
    killed = child(source, disk, before=STOP_IN_THE_MIDDLE, look="look")
    with children(killed):
        lines_until(killed, "MIDDLE")
    copy = copy_of(source, disk)
    shard = sorted((copy / "shards").glob("*.arrow"))[0]
    content = bytearray(shard.read_bytes())
    content[-2000] ^= 1
    shard.write_bytes(content)
    with pytest.raises(InputError, match="is a half-written corpus"):
        open_corpus(copy)
    assert staged(source, disk, None, print) == copy
    assert_equal(source, copy)


def test_whatever_ends_the_copying_leaves_nothing_that_looks_whole(source, disk):
    looks = []

    def look():
        looks.append(1)
        if len(looks) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        staged(source, disk, None, print, look)
    assert not (copy_of(source, disk) / "corpus.json").exists()
    assert_equal(source, staged(source, disk, None, print))


def interrupt():
    raise KeyboardInterrupt


def spoil(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_an_altered_shard_is_named_and_never_read(source, disk):
    spoil(source / "shards" / "00002.arrow")
    wrong = rf"shard {source}/shards/00002.arrow was altered: its SHA-256 is .*, but corpus.json says .*; copy it again"
    for _ in range(2):
        with pytest.raises(InputError, match=wrong):
            staged(source, disk, None, print)
        assert not (copy_of(source, disk) / "corpus.json").exists()
        assert not (copy_of(source, disk) / "shards" / "00002.arrow").exists()


def test_a_shard_that_was_cut_short_is_named(source, disk):
    os.truncate(source / "shards" / "00001.arrow", 1000)
    with pytest.raises(InputError, match=r"shard .*00001.arrow has 1000 bytes, but corpus.json says"):
        staged(source, disk, None, print)


def test_a_shard_that_was_read_wrong_once_is_read_again(source, disk, monkeypatch):
    true, made = staging.hashlib.sha256, []

    def sha256():
        made.append(true())
        if len(made) == 1:
            made[0].update(b"noise on the line")
        return made[-1]

    monkeypatch.setattr(staging, "hashlib", types.SimpleNamespace(sha256=sha256))
    assert_equal(source, staged(source, disk, None, print))
    assert len(made) == 4 + 1 + 2  # shards, one again, index and manifest


def test_files_that_a_site_cleaned_up_are_copied_again(source, disk):
    finished(child(source, disk))
    copy = copy_of(source, disk)
    kept = (copy / "shards" / "00000.arrow").stat().st_ino
    (copy / "shards" / "00001.arrow").unlink()
    said = []
    assert staged(source, disk, None, said.append) == copy
    assert_equal(source, copy)
    assert len(said) == 2
    assert (copy / "shards" / "00000.arrow").stat().st_ino == kept
    # also in the process that uses it; meanwhile it does not look whole
    (copy / "shards" / "00002.arrow").unlink()
    with pytest.raises(KeyboardInterrupt):
        staged(source, disk, None, said.append, interrupt)
    assert not (copy / "corpus.json").exists()
    assert staged(source, disk, None, said.append) == copy
    (copy / "index.parquet").unlink()
    assert staged(source, disk, None, said.append) == copy
    assert_equal(source, copy)


def test_a_long_copy_says_how_far_it_is(source, disk, monkeypatch):
    monkeypatch.setattr(staging, "SAID_S", 0.0)
    said = []
    staged(source, disk, None, said.append)
    assert any(line.startswith("copied 0.000") and " MB/s, " in line and line.endswith(" s left") for line in said)
