"""Shards are compared with the manifest's hashes, and those that were are remembered by this host."""

import errno
import hashlib
import json
import os
import threading
import time

import pytest
from local_copy_cases import write

from ser_ray.corpus import open_corpus, progress
from ser_ray.corpus.store import verifying
from ser_ray.corpus.store.manifest import AlteredError
from ser_ray.corpus.store.node_disk import locked
from ser_ray.corpus.store.verifying import verified_shards, verify_shards
from ser_ray.errors import InputError


@pytest.fixture
def corpus(tmp_path):
    return open_corpus(write(tmp_path / "c", recordings=3))


@pytest.fixture
def memory(corpus, tmp_path):
    return verified_shards(corpus.path, {"XDG_CACHE_HOME": str(tmp_path / "cache")})


@pytest.fixture
def hashed(monkeypatch):
    """The names of the shards that are read, in order of their names."""
    names = []
    take = verifying.hash_file

    def note(path, *arguments, **options):
        names.append(path.name)
        return take(path, *arguments, **options)

    monkeypatch.setattr(verifying, "hash_file", note)
    return names


def alter(path, place=1000):
    """Change one bit and nothing that a look at sizes and names would show."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    with path.open("r+b") as file:
        file.write(content)


def shard(corpus, number=1):
    return corpus.path / "shards" / f"0000{number}.arrow"


def verify(corpus, memory=None, **options):
    verify_shards(corpus.path, corpus.manifest, memory, **options)


def test_each_shard_is_hashed_once_and_again_when_it_changes(corpus, memory, hashed):
    verify(corpus, memory)
    assert sorted(hashed) == ["00000.arrow", "00001.arrow", "00002.arrow"]
    hashed.clear()
    verify(corpus, memory)
    assert hashed == []
    os.utime(shard(corpus))
    verify(corpus, memory)
    assert hashed == ["00001.arrow"]


def test_without_a_memory_all_are_hashed_each_time(corpus, hashed):
    verify(corpus)
    verify(corpus)
    assert len(hashed) == 6


@pytest.mark.parametrize("remembered", [False, True])
def test_an_altered_shard_of_the_same_size_is_named(corpus, memory, remembered):
    if remembered:
        verify(corpus, memory)
    alter(shard(corpus))
    found = hashlib.sha256(shard(corpus).read_bytes()).hexdigest()
    for _ in range(2):  # what is wrong is not remembered
        with pytest.raises(
            AlteredError, match=rf"shard .*/00001.arrow was altered: its SHA-256 is {found}, but corpus"
        ):
            verify(corpus, memory)


def test_a_change_that_keeps_size_time_and_inode_is_found(corpus, memory):
    verify(corpus, memory)
    seen = shard(corpus).stat()
    alter(shard(corpus))
    os.utime(shard(corpus), ns=(seen.st_atime_ns, seen.st_mtime_ns))
    now = shard(corpus).stat()
    assert (now.st_size, now.st_mtime_ns, now.st_ino) == (seen.st_size, seen.st_mtime_ns, seen.st_ino)
    with pytest.raises(AlteredError, match=r"00001.arrow was altered"):
        verify(corpus, memory)


def test_a_shard_that_is_put_in_anothers_place_is_found(corpus, memory):
    verify(corpus, memory)
    shard(corpus, 0).rename(corpus.path / "aside")
    shard(corpus, 1).rename(shard(corpus, 0))
    (corpus.path / "aside").rename(shard(corpus, 1))
    with pytest.raises(AlteredError, match=r"0000[01].arrow was altered"):
        verify(corpus, memory)


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"short")])
def test_a_shard_that_is_absent_or_short_is_named_whatever_is_remembered(corpus, memory, spoil):
    verify(corpus, memory)
    spoil(shard(corpus))
    with pytest.raises(AlteredError, match=r"00001.arrow (is missing|has 5 bytes)"):
        verify(corpus, memory)


def test_a_shard_that_another_manifest_describes_is_hashed(corpus, memory, hashed):
    """A corpus that is made anew in the same place, of the same size."""
    verify(corpus, memory)
    other = dict(vars(corpus.manifest.shards[1]), sha256="0" * 64)
    shards = (corpus.manifest.shards[0], type(corpus.manifest.shards[1])(**other), corpus.manifest.shards[2])
    hashed.clear()
    with pytest.raises(AlteredError, match=r"but corpus.json says 0000"):
        verify_shards(corpus.path, type(corpus.manifest)(**{**vars(corpus.manifest), "shards": shards}), memory)
    assert set(hashed) == {"00001.arrow"}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"00001.arrow": 3}', '{"00001.arrow": {"signature": 1}}', "\0"])
def test_a_memory_that_is_damaged_is_none(corpus, memory, hashed, text):
    verify(corpus, memory)
    memory.path.write_text(text)
    verify(corpus, memory)
    assert len(hashed) == 6
    assert len(json.loads(memory.path.read_text())) == 3


def test_a_host_remembers_for_itself(corpus, tmp_path, hashed, monkeypatch):
    """Homes are shared by the nodes of a cluster; their disks and what they have in memory are not."""
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    for number in (1, 2):
        monkeypatch.setattr("ser_ray.provenance.host_name", lambda number=number: f"node{number}")
        verify(corpus, verified_shards(corpus.path, environment))
    assert len(hashed) == 6
    assert sorted(path.name for path in (tmp_path / "cache/ser_ray/verified").iterdir()) == ["node1", "node2"]


def test_where_the_cache_folder_cannot_be_written_the_local_disk_remembers(corpus, tmp_path, hashed):
    (tmp_path / "file").touch()
    (tmp_path / "local").mkdir()
    environment = {"XDG_CACHE_HOME": str(tmp_path / "file"), "SER_RAY_TMP": str(tmp_path / "local")}
    for _ in range(2):
        verify(corpus, verified_shards(corpus.path, environment))
    assert len(hashed) == 3
    assert (tmp_path / "local" / f"ser_ray-corpora-{os.getuid()}" / "verified").is_dir()
    assert verified_shards(corpus.path, {**environment, "SER_RAY_TMP": str(tmp_path / "file")}) is None


def test_a_process_waits_for_another_that_hashes_and_reads_nothing_then(corpus, memory, hashed):
    calls, said = [], []
    lock = locked(memory.path.with_suffix(".lock"), lambda holder: None, lambda: None)
    lock.__enter__()

    def other_is_done():
        calls.append(1)
        if len(calls) == 2:
            signatures = {path.name: verifying.signature(path.stat()) for path in corpus.path.glob("shards/*")}
            memory.remember(corpus.manifest, signatures)
            lock.__exit__(None, None, None)

    verify(corpus, memory, on_block=other_is_done, log=said.append)
    assert hashed == []
    assert said == ["waiting for another process of this host, which verifies the corpus"]


def test_where_there_are_no_locks_each_process_hashes(corpus, memory, hashed, monkeypatch):
    def refuse(file, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    verify(corpus, memory)
    assert len(hashed) == 3
    verify(corpus, memory)
    assert len(hashed) == 3


def test_what_on_block_raises_ends_it_and_leaves_no_thread(corpus, monkeypatch):
    monkeypatch.setattr(verifying, "BLOCK_BYTES", 1)  # reading takes for ever
    monkeypatch.setattr(verifying, "POLL_S", 0.01)

    def stop():
        raise KeyboardInterrupt

    before, began = threading.active_count(), time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        verify(corpus, on_block=stop)
    assert threading.active_count() == before
    assert time.monotonic() - began < 5


def test_a_shard_that_is_written_to_meanwhile_is_refused(corpus, monkeypatch):
    states = iter(range(100))
    monkeypatch.setattr(verifying, "signature", lambda seen: (seen.st_size, next(states), 0, 0))
    with pytest.raises(AlteredError, match=r"0000\d.arrow is being written to"):
        verify(corpus)


def test_a_long_verification_is_told(corpus, monkeypatch):
    said = []
    monkeypatch.setattr(verifying, "WORTH_LOGGING_BYTES", 0)
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.0)
    monkeypatch.setattr(verifying, "cpus", lambda: 1)
    verify(corpus, log=said.append)
    assert said[0].startswith("verifying corpus c (")
    assert all(line.startswith("verified ") for line in said[1:])


def test_a_shard_that_cannot_be_read_is_named(corpus, monkeypatch):
    path = shard(corpus)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read everything
        monkeypatch.setattr("pathlib.Path.open", lambda self, *_, **__: (_ for _ in ()).throw(OSError(5, "I/O error")))
    with pytest.raises(InputError, match=r"shard .*arrow cannot be read \("):
        verify(corpus)
