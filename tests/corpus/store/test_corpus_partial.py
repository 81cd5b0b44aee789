"""An import that is interrupted, however, goes on where it stopped, and ends with the corpus it would have made."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from corpus_cases import TableSource, noise
from partial_cases import content, interrupted

from ser_ray.corpus import CorpusWriter, open_corpus
from ser_ray.corpus.importing import ingest
from ser_ray.corpus.importing.ingest import import_corpus
from ser_ray.corpus.store.writer import ImportPlan
from ser_ray.errors import InputError


@pytest.mark.parametrize("after", range(1, 6))
def test_it_goes_on_after_any_recording(source, tmp_path, monkeypatch, after):
    import_corpus("table", source.folder, tmp_path / "whole", name="n")
    interrupted(source, tmp_path / "out", after, monkeypatch, KeyboardInterrupt())
    made = import_corpus("table", source.folder, tmp_path / "out", name="n")
    assert made.kept == after
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert len(list((tmp_path / "out" / "shards").iterdir())) == 3
    assert not (tmp_path / ".out.partial").exists()


def test_it_goes_on_twice(source, tmp_path, monkeypatch):
    import_corpus("table", source.folder, tmp_path / "whole", name="n")
    for after in (1, 2, 5):
        interrupted(source, tmp_path / "out", after, monkeypatch, KeyboardInterrupt())
    assert import_corpus("table", source.folder, tmp_path / "out", name="n").kept == 5
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_before_the_first_recording_nothing_is_left(source, tmp_path, monkeypatch):
    interrupted(source, tmp_path / "out", 0, monkeypatch, KeyboardInterrupt())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_a_shard_that_was_cut_short_is_gone_on_with_as_far_as_it_is_whole(source, tmp_path, monkeypatch, kept):
    """As when the machine lost its power: the journal is ahead of the data."""
    interrupted(source, tmp_path / "out", 4, monkeypatch, KeyboardInterrupt())
    shards = tmp_path / ".out.partial" / "shards"
    damaged, batch = shards / f"{kept // 2:05d}.arrow", kept % 2
    os.truncate(damaged, 500 + batch * 70_000)
    assert import_corpus("table", source.folder, tmp_path / "out", name="n").kept == kept
    import_corpus("table", source.folder, tmp_path / "whole", name="n")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_samples_that_never_reached_the_disk_are_made_anew(source, tmp_path, monkeypatch):
    interrupted(source, tmp_path / "out", 3, monkeypatch, KeyboardInterrupt())
    shard = tmp_path / ".out.partial" / "shards" / "00001.arrow"
    content_ = bytearray(shard.read_bytes())
    content_[30_000:40_000] = bytes(10_000)
    shard.write_bytes(content_)
    assert import_corpus("table", source.folder, tmp_path / "out", name="n").kept == 2


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_journal_that_was_cut_short(source, tmp_path, monkeypatch, cut):
    interrupted(source, tmp_path / "out", 4, monkeypatch, KeyboardInterrupt())
    journal = tmp_path / ".out.partial" / "progress.jsonl"
    os.truncate(journal, journal.stat().st_size - cut)
    assert import_corpus("table", source.folder, tmp_path / "out", name="n").kept in (3, 4)
    import_corpus("table", source.folder, tmp_path / "whole", name="n")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_writer_that_ends_while_it_takes_over_loses_nothing(source, tmp_path, monkeypatch):
    interrupted(source, tmp_path / "out", 3, monkeypatch, KeyboardInterrupt())

    def killed(new, path):
        raise SystemExit  # what SIGKILL leaves: a shard under way beside the old one, and the old journal

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(SystemExit):
            import_corpus("table", source.folder, tmp_path / "out", name="n")
    assert (tmp_path / ".out.partial" / "shards" / "00001.new").exists()
    assert import_corpus("table", source.folder, tmp_path / "out", name="n").kept == 3
    import_corpus("table", source.folder, tmp_path / "whole", name="n")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_writer_that_ends_with_a_shard_taken_over_and_the_old_journal_loses_nothing(source, tmp_path, monkeypatch):
    interrupted(source, tmp_path / "out", 5, monkeypatch, KeyboardInterrupt())
    journal = tmp_path / ".out.partial" / "progress.jsonl"
    before = journal.read_bytes()
    source.audio("b", noise(32000, 99))
    interrupted(source, tmp_path / "out", 1, monkeypatch, KeyboardInterrupt())
    journal.write_bytes(before)  # of which the first shard has one recording now
    assert import_corpus("table", source.folder, tmp_path / "out", name="n").kept == 1
    import_corpus("table", source.folder, tmp_path / "whole", name="n")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up(source, tmp_path, monkeypatch, number):
    full = OSError(number, os.strerror(number))
    said = interrupted(source, tmp_path / "out", 2, monkeypatch, full, InputError)
    assert re.match(r"the disk of .*out is full .*free disk space and run the same command again", said)
    assert import_corpus("table", source.folder, tmp_path / "out", name="n").kept == 2


def test_other_mistakes_of_the_system_are_not_the_users(source, tmp_path, monkeypatch):
    with pytest.raises(OSError, match="Input/output error") as caught:
        raise OSError(interrupted(source, tmp_path / "out", 2, monkeypatch, OSError(errno.EIO, "Input/output error")))
    assert not isinstance(caught.value, InputError)


def test_a_disk_without_room_is_refused_before_anything_is_written(source, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match=r"needs about 0.4 MB for 6 recordings, but 0.1 MB are free"):
        import_corpus("table", source.folder, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_two_at_once(source, tmp_path):
    plan = ImportPlan("h", [("a", "s")])
    options = {"name": "n", "label_rate": 25.0, "targets": ("arousal",), "plan": plan}
    with CorpusWriter(tmp_path / "out", **options) as one:
        with (
            pytest.raises(InputError, match=r"another process is importing into this folder \(.*\.out\.partial\)"),
            CorpusWriter(tmp_path / "out", **options),
        ):
            pass
        one.add("a", "train", "s", noise(640), np.zeros((1, 1), np.float32))
    assert open_corpus(tmp_path / "out").recordings("train")[0].name == "a"


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, *(pytest.param(other, marks=pytest.mark.slow) for other in (signal.SIGTERM, signal.SIGINT))],
)
def test_a_process_that_is_ended(tmp_path, number):
    """At a moment that is not chosen; several processes convert."""
    source = TableSource(tmp_path / "source", partitions={f"r{i}": "devel" if i == 0 else "train" for i in range(24)})
    source.write()
    for i, name in enumerate(source.partitions):
        soundfile.write(source.folder / "audio" / f"{name}.wav", noise(2 * 44100, i), 44100)
    options = ["table", str(source.folder), str(tmp_path / "out"), "--name", "n", "--jobs", "2"]
    code = "from ser_ray.corpus.importing import ingest; ingest.ALONE_S = 0; from ser_ray.cli import start; start()"
    command = [sys.executable, "-c", code, "corpus", "import", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / ".out.partial" / "progress.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.is_file() and journal.read_text().count('"recording"') >= 3):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (-number if number == signal.SIGKILL else 75)
    if number != signal.SIGKILL:
        assert said == "interrupted: written recordings are kept; run the same command again to resume\n"
    assert not (tmp_path / "out").exists()
    made = import_corpus("table", source.folder, tmp_path / "out", name="n", jobs=1)
    assert made.kept >= 3
    import_corpus("table", source.folder, tmp_path / "whole", name="n", jobs=1)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_the_journal_says_what_is_imported(source, tmp_path, monkeypatch):
    interrupted(source, tmp_path / "out", 2, monkeypatch, KeyboardInterrupt())
    lines = (tmp_path / ".out.partial" / "progress.jsonl").read_text().splitlines()
    assert json.loads(json.loads(lines[0])["import"])["layout"] == "table"
    assert [json.loads(line)["recording"]["name"] for line in lines[1:]] == ["a", "b"]


def test_a_journal_that_holds_what_was_on_the_disk_before(source, tmp_path, monkeypatch):
    interrupted(source, tmp_path / "out", 4, monkeypatch, KeyboardInterrupt())
    journal = tmp_path / ".out.partial" / "progress.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:3], b"\0" * 60 + b"\n", b"\xff\n", *lines[4:]]))
    assert import_corpus("table", source.folder, tmp_path / "out", name="n").kept == 2
    import_corpus("table", source.folder, tmp_path / "whole", name="n")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_file_system_without_locks(source, tmp_path, monkeypatch):
    def refuse(number):
        def flock(file, kind):
            raise OSError(number, os.strerror(number))

        return flock

    monkeypatch.setattr("fcntl.flock", refuse(errno.ENOSYS))
    import_corpus("table", source.folder, tmp_path / "out", name="n")
    monkeypatch.setattr("fcntl.flock", refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        import_corpus("table", source.folder, tmp_path / "other", name="n")


def test_a_shard_is_on_the_disk_before_the_journal_says_so(source, tmp_path, monkeypatch):
    synced, fsync, journal = [], os.fsync, tmp_path / ".out.partial" / "progress.jsonl"

    def noted(file):
        fsync(file)
        synced.append((os.fstat(file).st_ino, journal.read_text().count('"sha256"')))

    monkeypatch.setattr(os, "fsync", noted)
    import_corpus("table", source.folder, tmp_path / "out", name="n")
    shards = sorted((tmp_path / "out" / "shards").iterdir())
    assert synced == [(shard.stat().st_ino, number) for number, shard in enumerate(shards)]


def test_after_some_mistakes_no_more_is_converted(source, tmp_path):
    """The recordings before the first mistake are kept; those behind it are looked at for more mistakes alone."""
    names = ["a", "f", *(f"n{i}" for i in range(9))]
    source.table([f"{name},{'devel' if name == 'f' else 'train'},S" for name in names])
    for name in names[2:]:
        source.audio(name, np.zeros(32000, np.int16) if name != "n3" else noise(32000))
        source.labels(name, *source.traces())
    broken = ("n0", "n1", "n2", "n4", "n5", "n6", "n7", "n8")
    for name in broken:
        rows = [f"{i / 25:.2f},nan,0" for i in range(51)]
        source.label_text(name, "\n".join(["time,arousal,valence", *rows]))
    with pytest.raises(InputError) as caught:
        import_corpus("table", source.folder, tmp_path / "out", name="n")
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("source: 5 mistakes")
    assert lines[-1] == (
        f"2 of 11 recordings are kept in {tmp_path}/.out.partial: run the same command again to resume"
    )
    assert [name for name in names if f"labels/{name}.csv" in str(caught.value)] == ["n0", "n1", "n2", "n4", "n5"]


def test_what_was_written_before_is_no_part_of_the_rate(source, tmp_path, monkeypatch):
    skipped = []

    class Noted(ingest.Bar):
        def skip(self, items, amount=None):
            skipped.append((items, amount))
            super().skip(items, amount)

    interrupted(source, tmp_path / "out", 4, monkeypatch, KeyboardInterrupt())
    monkeypatch.setattr(ingest, "Bar", Noted)
    import_corpus("table", source.folder, tmp_path / "out", name="n")
    assert skipped == [(4, 8.0)]
