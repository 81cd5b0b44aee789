"""Copies on a node's own disk: of several processes one copies, what looks whole is whole, and none is needed."""

import errno
import json
import os
import signal
import stat
import tempfile
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_copy_cases import (
    STOP_IN_THE_MIDDLE,
    assert_equal,
    child,
    children,
    copy_of,
    files,
    finished,
    lines_until,
    place,
    size_of,
    write,
)

from ser_ray.corpus import CorpusWriter, open_corpus, progress
from ser_ray.corpus.store import local_copy as local_copies
from ser_ray.corpus.store.local_copy import local_copy
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
        patch.setattr(local_copies, "BLOCK_BYTES", block)
        source, said = Path(folder) / "source", []
        with CorpusWriter(source, name="c", label_rate=25, targets=("a",), shard_bytes=shard_bytes) as writer:
            for number, length in enumerate(lengths):
                writer.add(f"r{number}", "devel", "s", rng.integers(-99, 99, length).astype(np.int16), None)
        before = {name: (source / name).stat().st_mtime_ns for name in files(source)}
        expected, looked_whole = copy_of(source, Path(folder) / "a" / "disk"), []
        on_block = lambda: looked_whole.append((expected / "corpus.json").exists())  # noqa: E731
        copy = local_copy(source, Path(folder) / "a" / "disk", said.append, on_block)
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


def test_a_second_time_nothing_is_copied_or_said(source, disk):
    said = []
    copy = local_copy(source, disk, said.append)
    kept = {name: (copy / name).stat().st_ino for name in files(copy)}
    assert local_copy(source, disk, said.append) == copy
    assert len(said) == 2
    assert finished(child(source, disk)).splitlines() == [f"AT {copy}"]
    assert {name: (copy / name).stat().st_ino for name in files(copy)} == kept


def test_nobody_else_can_look_into_it(source, disk):
    copy = local_copy(source, disk, print)
    assert place(disk).stat().st_mode & 0o777 == 0o700
    assert copy.parent == place(disk)


def test_of_several_processes_that_begin_at_once_one_copies(source, disk):
    processes = [child(source, disk, on_block="lambda: time.sleep(0.05)") for _ in range(4)]
    with children(*processes):
        said = [lines_until(process, "AT ") for process in processes]
        assert {lines[-1] for lines in said} == {f"AT {copy_of(source, disk)}"}
        assert [any(line.startswith("copying") for line in lines) for lines in said].count(True) == 1
        assert_equal(source, copy_of(source, disk))


def test_the_others_log_once_for_whom_they_wait(source, disk):
    copier = child(source, disk, before=STOP_IN_THE_MIDDLE, on_block="on_block")
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


def test_after_a_copier_was_killed_the_next_copies(source, disk):
    copy = copy_of(source, disk)
    killed = child(source, disk, before=STOP_IN_THE_MIDDLE, on_block="on_block")
    with children(killed):
        lines_until(killed, "MIDDLE")
        waiting = child(source, disk)
        with children(waiting):
            lines_until(waiting, f"waiting for process {killed.pid}, ")
            assert not (copy / "corpus.json").exists()
            assert 0 < len(list(place(disk).glob("*.partial/shards/*.arrow"))) < 4
            killed.send_signal(signal.SIGKILL)
            assert lines_until(waiting, "AT ")[-1] == f"AT {copy}"
    assert_equal(source, copy)
    assert sorted(path.name for path in place(disk).iterdir()) == [copy.name, f"{copy.name}.lock"]


def test_what_a_killed_copier_left_is_not_trusted(source, disk):
    killed = child(source, disk, before=STOP_IN_THE_MIDDLE, on_block="on_block")
    with children(killed):
        lines_until(killed, "MIDDLE")
    (partial,) = place(disk).glob("*.partial")
    spoil(sorted((partial / "shards").glob("*.arrow"))[0])
    with pytest.raises(InputError, match="is an incomplete corpus"):
        open_corpus(partial)
    assert local_copy(source, disk, print) == copy_of(source, disk)
    assert_equal(source, copy_of(source, disk))


def test_whatever_ends_the_copying_leaves_nothing_that_looks_whole(source, disk):
    calls = []

    def on_block():
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local_copy(source, disk, print, on_block)
    assert not (copy_of(source, disk) / "corpus.json").exists()
    assert_equal(source, local_copy(source, disk, print))


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
            local_copy(source, disk, print)
        assert [name for name in files(disk) if not name.endswith(".lock")] == []


def test_an_altered_index_is_named_and_never_read(source, disk):
    spoil(source / "index.parquet")
    with pytest.raises(
        InputError, match=rf"{source}/index.parquet was altered: its SHA-256 is .*, but corpus.json says"
    ):
        local_copy(source, disk, print)
    assert not copy_of_manifest(source, disk).exists()


def copy_of_manifest(source, disk):
    return place(disk) / json.loads((source / "corpus.json").read_text())["fingerprint"]


def test_a_shard_that_was_cut_short_is_named(source, disk):
    os.truncate(source / "shards" / "00001.arrow", 1000)
    with pytest.raises(InputError, match=r"shard .*00001.arrow has 1000 bytes, but corpus.json says"):
        local_copy(source, disk, print)


def test_a_shard_that_was_read_wrong_once_is_read_again(source, disk, monkeypatch):
    true, made = local_copies.hashlib.sha256, []

    def sha256():
        made.append(true())
        if len(made) == 1:
            made[0].update(b"noise on the line")
        return made[-1]

    monkeypatch.setattr(local_copies, "hashlib", types.SimpleNamespace(sha256=sha256))
    assert_equal(source, local_copy(source, disk, print))
    assert len(made) == 4 + 1 + 1  # shards, one again, and the index


def test_files_that_a_site_cleaned_up_are_copied_again(source, disk):
    finished(child(source, disk))
    copy = copy_of(source, disk)
    (copy / "shards" / "00001.arrow").unlink()
    said = []
    assert local_copy(source, disk, said.append) == copy
    assert_equal(source, copy)
    assert len(said) == 2
    # whatever ends this, no copy lacks a file and looks whole
    (copy / "shards" / "00002.arrow").unlink()
    with pytest.raises(KeyboardInterrupt):
        local_copy(source, disk, said.append, interrupt)
    assert local_copy(source, disk, said.append) == copy
    (copy / "index.parquet").unlink()
    assert local_copy(source, disk, said.append) == copy
    assert_equal(source, copy)


def test_a_process_that_reads_a_copy_made_anew_reads_on(source, disk):
    copy = local_copy(source, disk, print)
    corpus = open_corpus(copy)
    recordings = corpus.recordings("train")
    before = [corpus.audio(recording).copy() for recording in recordings[:2]]
    (copy / "shards" / "00000.arrow").unlink()
    assert local_copy(source, disk, print) == copy
    for recording, audio in zip(recordings, before, strict=False):
        np.testing.assert_array_equal(corpus.audio(recording), audio)
    np.testing.assert_array_equal(corpus.audio(recordings[3]), open_corpus(source).audio(recordings[3]))


def test_a_long_copy_says_how_far_it_is(source, disk, monkeypatch):
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.0)
    said = []
    local_copy(source, disk, said.append)
    assert any(line.startswith("copied 0.000") and " MB/s, " in line and line.endswith(" s left") for line in said)


def test_copies_of_several_corpora_lie_side_by_side(tmp_path, disk):
    sources = [write(tmp_path / f"s{n}", seed=n, name=f"c{n}") for n in range(2)]
    for source in sources:
        local_copy(source, disk, print)
    for source in sources:
        assert_equal(source, copy_of(source, disk))


def test_a_disk_with_too_few_free_bytes_is_left_alone(source, disk, monkeypatch):
    size = size_of(source) - (source / "corpus.json").stat().st_size
    free = types.SimpleNamespace(free=local_copies.RESERVE_BYTES + size - 1)
    monkeypatch.setattr(local_copies.shutil, "disk_usage", lambda path: free)
    said = []
    assert local_copy(source, disk, said.append) == source
    (line,) = said
    assert line.startswith("corpus c is not copied: it needs 0.000")
    assert f"but {place(disk)} has " in line
    assert line.endswith(f" GB available; it is read from {source}")
    assert not copy_of(source, disk).exists()
    free.free += 1
    assert local_copy(source, disk, said.append) == copy_of(source, disk)


def test_a_disk_that_fills_up_is_given_back_what_was_written(source, disk):
    half = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))"
    said = finished(child(source, disk, before=half)).splitlines()
    assert said[-2:] == [
        f"corpus c is not copied: File too large ({disk}); it is read from {source}",
        f"AT {source}",
    ]
    assert [name for name in files(disk) if not name.endswith(".lock")] == []
    assert_equal(source, local_copy(source, disk, print))


def test_bytes_that_do_not_reach_the_disk_are_not_taken_for_written(source, disk, monkeypatch):
    def fsync(file):
        if stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        said = []
        assert local_copy(source, disk, said.append) == source
        assert f"is not copied: Input/output error ({disk}); it is read from {source}" in said[-1]
    assert [name for name in files(disk) if not name.endswith(".lock")] == []


def test_a_folder_that_cannot_be_made_is_no_reason_to_end(source, tmp_path):
    (tmp_path / "file").touch()
    said = []
    assert local_copy(source, tmp_path / "file", said.append) == source
    assert f"is not copied: Not a directory ({tmp_path / 'file'})" in said[0]


@pytest.mark.parametrize("how", ["open to others", "a link"])
def test_a_place_that_others_could_have_prepared_is_not_used(source, disk, tmp_path, how):
    disk.mkdir()
    if how == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place(disk).symlink_to(tmp_path / "elsewhere")
    else:
        place(disk).mkdir()
        place(disk).chmod(0o755)
    said = []
    assert local_copy(source, disk, said.append) == source
    assert f"{place(disk)} is not a private folder of this user (chmod 700 it, or remove it)" in said[0]
    assert files(disk) == []
