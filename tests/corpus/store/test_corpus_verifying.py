"""Shards are compared with the manifest's hashes, and those that were are remembered by this host."""

import errno
import hashlib
import itertools
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


def alter(path, place=1000):
    """Change one bit and nothing that a look at sizes and names would show."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    with path.open("r+b") as file:
        file.write(content)


def shard(corpus, number=1):
    return corpus.path / "shards" / f"0000{number}.arrow"


def shards_of(corpus):
    return sorted(corpus.path.glob("shards/*"))


def alter_as_known(corpus, memory):
    """Alter all shards, and have them be remembered as they are now: who reads one is told."""
    for path in shards_of(corpus):
        alter(path)
    memory.remember(corpus.manifest, {path.name: verifying.signature(path.stat()) for path in shards_of(corpus)})


def verify(corpus, memory=None, **options):
    verify_shards(corpus.path, corpus.manifest, memory, **options)


def test_each_shard_is_hashed_once_and_again_when_it_changes(corpus, memory):
    verify(corpus, memory)
    assert set(memory.known(corpus.manifest)) == {path.name for path in shards_of(corpus)}
    alter_as_known(corpus, memory)
    verify(corpus, memory)
    os.utime(shard(corpus))
    with pytest.raises(AlteredError, match=r"00001.arrow was altered"):
        verify(corpus, memory)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_without_a_memory_all_are_hashed_each_time(corpus, number):
    verify(corpus)
    alter(shard(corpus, number))
    with pytest.raises(AlteredError, match=rf"0000{number}.arrow was altered"):
        verify(corpus)


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


def test_a_shard_that_another_manifest_describes_is_hashed(corpus, memory):
    """A corpus that is made anew in the same place, of the same size; the others are not read."""
    verify(corpus, memory)
    alter_as_known(corpus, memory)
    other = dict(vars(corpus.manifest.shards[1]), sha256="0" * 64)
    shards = (corpus.manifest.shards[0], type(corpus.manifest.shards[1])(**other), corpus.manifest.shards[2])
    with pytest.raises(AlteredError, match=r"00001.arrow was altered: .*, but corpus.json says 0000"):
        verify_shards(corpus.path, type(corpus.manifest)(**{**vars(corpus.manifest), "shards": shards}), memory)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"00001.arrow": 3}', '{"00001.arrow": {"signature": 1}}', "\0"])
def test_a_memory_that_is_damaged_is_none(corpus, memory, text):
    verify(corpus, memory)
    memory.path.write_text(text)
    assert memory.known(corpus.manifest) == {}
    verify(corpus, memory)
    assert len(json.loads(memory.path.read_text())) == 3
    memory.path.write_text(text)
    alter(shard(corpus))
    with pytest.raises(AlteredError, match=r"00001.arrow was altered"):
        verify(corpus, memory)


def test_a_host_remembers_for_itself(corpus, tmp_path, monkeypatch):
    """Homes are shared by the nodes of a cluster; their disks and what they have in memory are not."""
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    for number in (1, 2):
        monkeypatch.setattr("ser_ray.provenance.host_name", lambda number=number: f"node{number}")
        memory = verified_shards(corpus.path, environment)
        assert memory.known(corpus.manifest) == {}
        verify(corpus, memory)
        assert len(memory.known(corpus.manifest)) == 3
    assert sorted(path.name for path in (tmp_path / "cache/ser_ray/verified").iterdir()) == ["node1", "node2"]


def test_where_the_cache_folder_cannot_be_written_the_local_disk_remembers(corpus, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "local").mkdir()
    environment = {"XDG_CACHE_HOME": str(tmp_path / "file"), "SER_RAY_TMP": str(tmp_path / "local")}
    verify(corpus, verified_shards(corpus.path, environment))
    alter_as_known(corpus, verified_shards(corpus.path, environment))
    verify(corpus, verified_shards(corpus.path, environment))
    assert (tmp_path / "local" / f"ser_ray-corpora-{os.getuid()}" / "verified").is_dir()
    assert verified_shards(corpus.path, {**environment, "SER_RAY_TMP": str(tmp_path / "file")}) is None


def test_a_process_waits_for_another_that_hashes_and_reads_nothing_then(corpus, memory):
    calls, said = [], []
    lock = locked(memory.path.with_suffix(".lock"), lambda holder: None, lambda: None)
    lock.__enter__()

    def other_is_done():
        calls.append(1)
        if len(calls) == 2:
            alter_as_known(corpus, memory)
            lock.__exit__(None, None, None)

    verify(corpus, memory, on_block=other_is_done, log=said.append)
    assert said == ["waiting for another process of this host, which verifies the corpus"]


def test_where_there_are_no_locks_each_process_hashes(corpus, memory, monkeypatch):
    def refuse(file, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    alter(shard(corpus))
    with pytest.raises(AlteredError, match=r"00001.arrow was altered"):
        verify(corpus, memory)
    alter(shard(corpus))  # back
    verify(corpus, memory)
    alter_as_known(corpus, memory)
    verify(corpus, memory)


def with_a_large_shard(corpus, gigabytes):
    """Make a shard as large as that, which is a hole in the disk and takes long to read; return a manifest of it."""
    os.truncate(shard(corpus), int(gigabytes * 1e9))
    large = dict(vars(corpus.manifest.shards[1]), size_bytes=int(gigabytes * 1e9))
    shards = (corpus.manifest.shards[0], type(corpus.manifest.shards[1])(**large), corpus.manifest.shards[2])
    return type(corpus.manifest)(**{**vars(corpus.manifest), "shards": shards})


def test_what_on_block_raises_ends_it_and_leaves_no_thread(corpus):
    manifest = with_a_large_shard(corpus, 40)  # whose reading takes half a minute

    def stop():
        raise KeyboardInterrupt

    before, began = threading.active_count(), time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        verify_shards(corpus.path, manifest, on_block=stop)
    assert threading.active_count() == before
    assert time.monotonic() - began < 5


def test_a_shard_that_is_written_to_meanwhile_is_refused(corpus):
    manifest, over = with_a_large_shard(corpus, 0.05), threading.Event()

    def write_on():
        while not over.is_set():
            os.utime(shard(corpus))

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        with pytest.raises(AlteredError, match=r"00001.arrow is being written to"):
            verify_shards(corpus.path, manifest)
    finally:
        over.set()
        writer.join()


def test_a_long_verification_is_told(corpus, monkeypatch):
    said, blocks = [], itertools.count()
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.0)

    def stop():
        if len(said) > 2 or next(blocks) > 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify_shards(corpus.path, with_a_large_shard(corpus, 40), on_block=stop, log=said.append)
    assert said[0] == "verifying corpus c (40 GB), once on this host"
    assert len(said) == 3
    assert all(line.startswith("verified ") and " of 40 GB, " in line for line in said[1:])


def test_a_short_one_is_not(corpus):
    said = []
    verify(corpus, log=said.append)
    assert said == []


def test_a_shard_that_cannot_be_read_is_named(corpus, monkeypatch):
    path = shard(corpus)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read everything
        monkeypatch.setattr("pathlib.Path.open", lambda self, *_, **__: (_ for _ in ()).throw(OSError(5, "I/O error")))
    with pytest.raises(InputError, match=r"shard .*arrow cannot be read \("):
        verify(corpus)
