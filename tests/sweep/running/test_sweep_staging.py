"""Trials that read their corpus from a copy on their node's own disk."""

import dataclasses
import os

import pytest

from ser_ray.corpus import open_corpus
from ser_ray.corpus.store import local_copy as module
from ser_ray.corpus.store import verifying
from ser_ray.corpus.store.local_copy import local_corpus
from ser_ray.corpus.store.manifest import AlteredError
from ser_ray.corpus.store.verifying import verify_corpus
from ser_ray.errors import InputError
from ser_ray.results import SweepFolder, read_table
from ser_ray.sweep.running.worker import WorkerOptions, run_trial


@pytest.fixture
def two_file_systems(monkeypatch, tiny_corpus):
    """The corpus lies on one, everything else on another."""
    monkeypatch.setattr(module, "_device", lambda path: path == tiny_corpus.path)


@pytest.fixture
def disk(tmp_path):
    return tmp_path / "disk"


@pytest.fixture
def trial(make_trial, tiny_config):
    return make_trial(tiny_config())


def options_of(tmp_path, local_copy=None):
    go = tmp_path / "go"
    go.touch()
    return WorkerOptions(go_file=go, silence_s=600.0, save_every_s=600.0, local_copy=local_copy)


def log_of(trial):
    return trial.folder.log(trial.key).read_text()


def refusal(read, text):
    with pytest.raises(InputError) as refused:
        read(text)
    return str(refused.value)


def test_it_is_off_unless_a_folder_is_named(read):
    assert read("name: x").resources.staging is None
    assert read("name: x\nresources: {staging: $TMPDIR/ser_ray}").resources.staging == "$TMPDIR/ser_ray"


@pytest.mark.parametrize("given", ["local/disk", '""', "7", "[/local]"])
def test_a_folder_that_depends_on_where_it_is_read_is_refused(read, given):
    said = refusal(read, f"name: x\nresources: {{staging: {given}}}")
    assert "resources.staging" in said
    assert "must be an absolute path, which may begin with ~ or with a variable of the nodes' environment" in said


def test_there_is_no_bound(read):
    assert "staging_gb" in refusal(read, "name: x\nresources: {staging: /local, staging_gb: 50}")


def test_a_trial_reads_the_copy_and_stays_the_same_trial(trial, disk, two_file_systems):
    said = []
    near = local_corpus(trial.corpus, str(disk), said.append)
    assert near.path == disk / f"ser_ray-corpora-{os.getuid()}" / trial.corpus.fingerprint
    assert said[-1] == f"the corpus is read from {near.path}"
    assert (near.fingerprint, near.name) == (trial.corpus.fingerprint, trial.corpus.name)
    assert open_corpus(near.path).fingerprint == trial.corpus.fingerprint
    assert near.recordings("train") == trial.corpus.recordings("train")


def test_variables_are_those_of_the_node(trial, disk, two_file_systems, monkeypatch):
    monkeypatch.setenv("JOB_DISK", str(disk))
    monkeypatch.setenv("HOME", str(disk / "home"))
    for given, place in (("$JOB_DISK/a", disk / "a"), ("${JOB_DISK}/b", disk / "b"), ("~/c", disk / "home" / "c")):
        near = local_corpus(trial.corpus, given, print)
        assert near.path.is_relative_to(place)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("$NOT_HERE/x", "NOT_HERE is not set on this node"),
        ("/x/${NOT_HERE}", "NOT_HERE is not set on this node"),
        ("$RELATIVE", "this is here, not an absolute path, on this node"),
    ],
)
def test_where_the_folder_means_nothing_the_corpus_is_read_where_it_lies(trial, monkeypatch, given, why):
    monkeypatch.setenv("RELATIVE", "here")
    monkeypatch.delenv("NOT_HERE", raising=False)
    said = []
    assert local_corpus(trial.corpus, given, said.append) is trial.corpus
    assert said == [f"resources.staging is {given}, but {why}: the corpus is read from {trial.corpus.path}"]


def test_on_the_file_system_of_the_corpus_nothing_is_copied(trial, disk):
    said = []
    assert local_corpus(trial.corpus, str(disk), said.append) is trial.corpus
    assert said == [
        f"resources.staging is {disk}, on the same file system as the corpus: no local copy is made, the corpus is "
        f"read from {trial.corpus.path}"
    ]
    assert not disk.exists()


def predictions(trial):
    return read_table(trial.folder, "predictions", keys=[trial.key])


def test_results_do_not_depend_on_it(trial, disk, tmp_path, two_file_systems, monkeypatch):
    assert run_trial(trial, 0.0, options_of(tmp_path), lambda report: None) is None
    staged_trial = dataclasses.replace(trial, folder=SweepFolder(tmp_path / "staged"))
    opened = []
    original = type(trial.corpus).crop
    monkeypatch.setattr(
        type(trial.corpus), "crop", lambda corpus, *place: opened.append(corpus.path) or original(corpus, *place)
    )
    assert run_trial(staged_trial, 0.0, options_of(tmp_path, str(disk)), lambda report: None) is None
    assert predictions(staged_trial).equals(predictions(trial))
    assert len(set(opened)) == 1
    assert opened[0].is_relative_to(disk)
    log = log_of(staged_trial)
    assert log.index("copying corpus tiny (") < log.index(f"the corpus is read from {opened[0]}")
    assert str(disk) not in str(predictions(staged_trial).schema.metadata)


def test_with_too_few_free_bytes_it_trains_all_the_same_and_logs_why(
    trial, disk, tmp_path, two_file_systems, monkeypatch
):
    monkeypatch.setattr("ser_ray.corpus.store.local_copy.RESERVE_BYTES", 2**60)
    assert run_trial(trial, 0.0, options_of(tmp_path, str(disk)), lambda report: None) is None
    assert trial.folder.part("predictions", trial.key).exists()
    assert "corpus tiny is not copied: it needs " in log_of(trial)
    assert f"it is read from {trial.corpus.path}" in log_of(trial)


def test_an_altered_shard_is_named_and_fails_no_trial(
    make_trial, tiny_config, tiny_corpus, tmp_path, monkeypatch, disk
):
    import shutil

    shutil.copytree(tiny_corpus.path, tmp_path / "altered")
    monkeypatch.setattr(module, "_device", lambda path: path == tmp_path / "altered")
    shard = tmp_path / "altered" / "shards" / "00000.arrow"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(content)
    trial = make_trial(tiny_config(), open_corpus(tmp_path / "altered"))
    with pytest.raises(AlteredError, match=rf"shard {shard} was altered: its SHA-256 is "):
        run_trial(trial, 0.0, options_of(tmp_path, str(disk)), lambda report: None)
    assert not trial.folder.part("trials", trial.key).exists()


def test_a_copy_is_not_hashed_again_and_one_that_is_altered_later_is_named(
    trial, disk, tmp_path, two_file_systems, monkeypatch
):
    staging, hashed = str(disk), []
    take = verifying.hash_file
    monkeypatch.setattr(
        verifying, "hash_file", lambda path, *how, **also: hashed.append(path) or take(path, *how, **also)
    )
    near = local_corpus(trial.corpus, staging, print)
    verify_corpus(near, print)
    assert hashed == []
    shard = near.path / "shards" / "00000.arrow"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(content)
    with pytest.raises(AlteredError, match=rf"shard {shard} was altered"):
        verify_corpus(local_corpus(trial.corpus, staging, print), print)


def test_a_trial_that_is_to_end_does_not_copy_on(trial, disk, tmp_path, two_file_systems, monkeypatch):
    given = options_of(tmp_path, str(disk))
    asked = iter([False])  # to begin with, and then True
    monkeypatch.setattr("ser_ray.sweep.running.worker._stop_check", lambda go_file: lambda: next(asked, True))
    assert run_trial(trial, 0.0, given, lambda report: None) is None
    assert "stop requested: before its first step, while its corpus was being copied" in log_of(trial)
    assert not trial.folder.part("trials", trial.key).exists()
    assert not list(disk.rglob("corpus.json"))
