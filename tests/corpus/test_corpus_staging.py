"""Copies on a node's own disk: of several processes one copies, and what looks whole is whole."""

import contextlib
import errno
import filecmp
import os
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_ray.corpus import CorpusWriter, open_corpus, room, staging
from ser_ray.corpus.room import Lock, NoRoomError, make_room
from ser_ray.corpus.staging import staged
from ser_ray.errors import InputError

CHILD = """
import os, sys, time
sys.path[:0] = {path!r}
from pathlib import Path
from ser_ray.corpus.staging import staged

def say(line):
    print(line, flush=True)

{before}
copy = staged(Path({source!r}), Path({folder!r}), {limit}, say, {look})
print("AT", copy, flush=True)
sys.stdin.readline()
"""
STOP_IN_THE_MIDDLE = """
looks = 0
def look():
    global looks
    looks += 1
    if looks == 5:
        print("MIDDLE", flush=True)
        time.sleep(600)
"""


def write(out, recordings=4, seconds=1, seed=0, name="c"):
    """A corpus with a shard per recording."""
    rng = np.random.default_rng(seed)
    with CorpusWriter(out, name=name, label_rate=25, targets=("arousal",), shard_bytes=1) as writer:
        for number in range(recordings):
            audio = rng.integers(-9000, 9000, 16000 * seconds).astype(np.int16)
            writer.add(f"r{number}", "train", "s", audio, rng.normal(size=(25 * seconds, 1)).astype(np.float32))
    return out


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "source")


@pytest.fixture
def disk(tmp_path):
    return tmp_path / "disk"


def child(source, folder, *, limit=None, before="", look="lambda: None"):
    script = textwrap.dedent(CHILD).format(
        path=sys.path, source=str(source), folder=str(folder), limit=limit, before=before, look=look
    )
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextlib.contextmanager
def children(*processes):
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def lines_until(process, begin):
    """What a process prints, up to a line that begins so."""
    lines = []
    while not lines or not lines[-1].startswith(begin):
        line = process.stdout.readline()
        assert line, f"it ended: {lines}"
        lines.append(line.rstrip("\n"))
    return lines


def finished(process):
    """What a process prints that is let go on to its end."""
    out, _ = process.communicate("\n", timeout=60)
    assert process.returncode == 0, out
    return out


def place(folder):
    return folder / f"ser_ray-corpora-{os.getuid()}"


def copy_of(source, folder):
    return place(folder) / open_corpus(source).fingerprint


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def assert_equal(source, copy):
    assert files(copy) == files(source)
    assert filecmp.cmpfiles(source, copy, files(source), shallow=False) == (files(source), [], [])


def size_of(folder):
    return sum((folder / name).stat().st_size for name in files(folder))


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


def test_of_several_processes_one_copies(source, disk):
    slowly = "lambda: time.sleep(0.3)"
    processes = [child(source, disk, look=slowly) for _ in range(4)]
    with children(*processes):
        said = [lines_until(process, "AT ") for process in processes]
        assert {lines[-1] for lines in said} == {f"AT {copy_of(source, disk)}"}
        (copier,) = [n for n, lines in enumerate(said) if any(line.startswith("copying") for line in lines)]
        waiting = f"waiting for process {processes[copier].pid}, which copies corpus c to {copy_of(source, disk)}"
        for number, lines in enumerate(said):
            assert lines.count(waiting) == (number != copier)  # told, and once
        assert_equal(source, copy_of(source, disk))


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


def test_unused_copies_make_room_the_one_used_longest_ago_first(tmp_path, disk):
    sources = [write(tmp_path / f"s{n}", seed=n, name=f"c{n}") for n in range(4)]
    for number, source in enumerate(sources[:3]):
        finished(child(source, disk))
        lock = copy_of(source, disk).with_suffix(".lock")
        os.utime(lock, (1000 + number, 1000 + number))
    finished(child(sources[0], disk))  # now c1 is the oldest
    user = child(sources[2], disk)
    with children(user):
        lines_until(user, "AT ")
        os.utime(copy_of(sources[2], disk).with_suffix(".lock"), (1, 1))  # older still, but in use
        said = []
        limit = 3 * size_of(sources[0]) + 1000
        assert staged(sources[3], disk, limit, said.append) == copy_of(sources[3], disk)
        assert said[0].startswith(
            f"removed the copy of corpus {copy_of(sources[1], disk).name} from {place(disk)}: nobody"
        )
    there = {path.name for path in place(disk).iterdir() if path.is_dir()}
    assert there == {copy_of(sources[n], disk).name for n in (0, 2, 3)}
    assert_equal(sources[2], copy_of(sources[2], disk))


def test_where_used_copies_leave_no_room_the_corpus_is_read_where_it_lies(tmp_path, disk):
    used, unused, source = (write(tmp_path / f"s{n}", seed=n, name=f"c{n}") for n in range(3))
    finished(child(unused, disk))
    user = child(used, disk)
    with children(user):
        lines_until(user, "AT ")
        said = []
        assert staged(source, disk, size_of(source) + 1000, said.append) == source
        (line,) = said
        assert line.startswith("corpus c2 is not staged: it takes 0.000")
        assert "GB, but staging is bounded to 0.000" in line
        assert ", of which copies in use take 0.000" in line
        assert line.endswith(f"it is read from {source}")
        # what would not have helped is still there
        assert_equal(unused, copy_of(unused, disk))
        assert not copy_of(source, disk).exists()
    assert staged(source, disk, size_of(source) + 1000, print) == copy_of(source, disk)
    assert not copy_of(used, disk).exists()


def test_a_corpus_beyond_the_bound_is_not_copied(source, disk):
    said = []
    assert staged(source, disk, 1000, said.append) == source
    (line,) = said
    assert line.startswith("corpus c is not staged: it takes 0.000")
    assert line.endswith(f" GB, but staging is bounded to 1e-06 GB; it is read from {source}")
    assert not copy_of(source, disk).exists()


def test_a_disk_without_room_is_left_alone(source, disk, monkeypatch):
    free = types.SimpleNamespace(free=room.RESERVE_BYTES + size_of(source) - 1)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: free)
    said = []
    assert staged(source, disk, None, said.append) == source
    assert len(said) == 1
    assert f"but {place(disk)} has " in said[0]
    assert " GB to spare; it is read from " in said[0]
    free.free += 1
    assert staged(source, disk, None, said.append) == copy_of(source, disk)


def test_a_disk_that_fills_up_is_given_back_what_was_written(source, disk):
    half = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))"
    said = finished(child(source, disk, before=half)).splitlines()
    assert said[-2:] == [
        f"corpus c is not staged: File too large ({disk}); it is read from {source}",
        f"AT {source}",
    ]
    assert not copy_of(source, disk).exists()
    assert_equal(source, staged(source, disk, None, print))


def test_bytes_that_do_not_reach_the_disk_are_not_taken_for_written(source, disk, monkeypatch):
    def fsync(file):
        if stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(staging.os, "fsync", fsync)
        said = []
        assert staged(source, disk, None, said.append) == source
        assert f"is not staged: Input/output error ({disk}); it is read from {source}" in said[-1]
    assert not copy_of(source, disk).exists()


def test_a_folder_that_cannot_be_made_is_no_reason_to_end(source, tmp_path):
    (tmp_path / "file").touch()
    said = []
    assert staged(source, tmp_path / "file", None, said.append) == source
    assert f"is not staged: Not a directory ({tmp_path / 'file'})" in said[0]


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
    assert staged(source, disk, None, said.append) == source
    assert f"{place(disk)} is not a folder of this user's alone (chmod 700, or remove it)" in said[0]
    assert files(disk) == []


def test_what_others_are_still_to_write_is_counted(tmp_path, monkeypatch):
    place = tmp_path
    copying, ours = Lock(place / "aa.lock"), place / "bb"
    assert copying.alone()
    copying.claim(3000)
    (place / "aa").mkdir()
    (place / "aa" / "part").write_bytes(bytes(1000))
    ours.mkdir()
    (ours / "left").write_bytes(bytes(400))
    free = types.SimpleNamespace(free=room.RESERVE_BYTES + 2000 + 600)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: free)
    assert make_room(ours, 1000, 4000) == []
    with pytest.raises(NoRoomError, match="bounded to 4e-06 GB, of which copies in use take 3e-06 GB"):
        make_room(ours, 1001, 4000)
    free.free -= 1
    with pytest.raises(NoRoomError, match="to spare"):
        make_room(ours, 1000, None)
    # once it is copied, it counts as what it is; once nobody uses it, it goes
    assert copying.together()
    assert make_room(ours, 1000, None) == []
    copying.release()
    assert make_room(ours, 1000, 1500) == ["aa"]
    assert not (place / "aa").exists()
    assert (ours / "left").exists()
    copying.close()


def test_what_is_half_removed_does_not_look_whole(source, disk, monkeypatch):
    finished(child(source, disk))
    copy = copy_of(source, disk)
    monkeypatch.setattr(room.shutil, "rmtree", lambda *path, **how: None)  # as where a process is killed meanwhile
    room.remove(copy)
    assert files(copy) == [name for name in files(source) if name != "corpus.json"]
    assert_equal(source, staged(source, disk, None, print))


def test_a_lock_is_alone_or_together(tmp_path):
    one, other = Lock(tmp_path / "x.lock"), Lock(tmp_path / "x.lock")
    assert one.claimed == (0, None)
    assert one.alone()
    assert not other.together()
    assert not other.alone()
    one.claim(123_456_789)
    one.claim(123)
    assert other.claimed == (123, os.getpid())
    assert one.together()
    assert other.together()
    assert not other.alone()  # and nothing of it is left
    assert one.alone()
    one.close()
    assert other.alone()
    other.close()
