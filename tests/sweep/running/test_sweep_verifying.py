"""A run on a corpus whose bytes are not what the manifest says ends by the shard's name, with no figure of it."""

import dataclasses
import shutil
import subprocess
import sys
import textwrap
import threading

import pytest
import torch

from ser_ray.corpus import open_corpus
from ser_ray.corpus.store import verifying
from ser_ray.corpus.store.manifest import AlteredError
from ser_ray.corpus.store.verifying import verification, verify_corpus
from ser_ray.errors import InputError
from ser_ray.results import SweepFolder, read_table
from ser_ray.sweep.running.trainable import ALTERED, PLACE, UNWRITABLE, train_one
from ser_ray.sweep.running.worker import WorkerOptions, run_trial
from ser_ray.sweep.spec.config import Resources
from ser_ray.trial import search_trial
from ser_ray.trial.place import Place, place_here

SWEEP = """
name: tiny
corpus: {corpus}
trial:
  model: {{channels: [3, 4], kernels: [4, 6], pools: [8, 8], hidden: 5}}
  training: {{epochs: 2, sequence_s: 0.08, batch_size: 3}}
explore:
  - training.seed: [0, 1]
"""


@pytest.fixture
def corpus(tiny_corpus, tmp_path):
    return open_corpus(shutil.copytree(tiny_corpus.path, tmp_path / "own"))


@pytest.fixture
def trial(make_trial, tiny_config, corpus):
    return make_trial(tiny_config(), corpus)


@pytest.fixture
def options(tmp_path):
    go = tmp_path / "go"
    go.touch()
    return WorkerOptions(go_file=go, silence_s=600.0, save_every_s=600.0, verify_corpus=True)


def alter(corpus):
    """Change a sample and leave the file's length as it is."""
    path = corpus.path / "shards" / "00000.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def row_of(trial):
    (row,) = read_table(trial.folder, "trials", keys=[trial.key]).to_pylist()
    return row


def test_it_is_done_unless_the_sweep_says_otherwise(read):
    assert Resources().verify_corpus
    assert not read("name: x\nresources: {verify_corpus: false}").resources.verify_corpus
    with pytest.raises(InputError, match=r"resources.verify_corpus"):
        read("name: x\nresources: {verify_corpus: 1}")


def test_a_trial_trains_on_a_corpus_that_is_what_it_was_and_its_row_says_so(trial, options):
    assert run_trial(trial, 0.0, options, lambda report: None) is None
    search_trial(trial.folder, trial.key)
    assert row_of(trial)["corpus_verified"] is True


def test_a_trial_on_an_altered_corpus_leaves_no_figures_and_stays_open(trial, options):
    alter(trial.corpus)
    with pytest.raises(AlteredError, match=r"shard .*/own/shards/00000.arrow was altered: its SHA-256"):
        run_trial(trial, 0.0, options, lambda report: None)
    for table in ("trials", "epochs", "predictions"):
        assert not trial.folder.part(table, trial.key).exists()
    assert "00000.arrow was altered" in trial.folder.log(trial.key).read_text()


def test_what_was_verified_before_does_not_hide_what_was_altered_since(trial, options):
    verify_corpus(trial.corpus, print)
    alter(trial.corpus)
    with pytest.raises(AlteredError):
        verify_corpus(trial.corpus, print)


def test_the_option_leaves_the_corpus_unread_and_the_row_says_so(trial, options):
    alter(trial.corpus)
    unverified = dataclasses.replace(options, verify_corpus=False)
    places = []
    assert run_trial(trial, 0.0, unverified, lambda report: None, places.append) is None
    search_trial(trial.folder, trial.key)
    assert (places[0].corpus_verified, row_of(trial)["corpus_verified"]) == (False, False)


def test_a_worker_tells_the_driver_where_it_is_and_what_was_altered(trial, options):
    told = []
    alter(trial.corpus)
    train_one({"trial": trial, "gpus": 0.0}, options, told.append)
    place, report = told
    assert Place(**place[PLACE]) == place_here(torch.device("cpu"))
    assert "00000.arrow was altered" in report[ALTERED]
    assert UNWRITABLE not in report


def test_the_driver_is_told_beside_other_work(corpus):
    with verification(corpus, print) as wait_for_it:
        wait_for_it(lambda: False)
    alter(corpus)
    with verification(corpus, print) as wait_for_it, pytest.raises(AlteredError, match=r"00000.arrow"):
        wait_for_it(lambda: False)
    with verification(None, print) as wait_for_it:
        wait_for_it(lambda: False)


def test_a_run_that_ends_does_not_wait_for_it(corpus, monkeypatch):
    begun = threading.Event()

    def for_ever(folder, manifest, memory, *, on_block, log):
        while True:
            begun.set()
            on_block()

    monkeypatch.setattr(verifying, "verify_shards", for_ever)
    with verification(corpus, print) as wait_for_it:
        assert begun.wait(10)
        wait_for_it(lambda: True)


RUN = """
import sys
from ser_ray import cli
from ser_ray.sweep.running import driver as work
if sys.argv[1] == "by a trial":
    verify = work.verification
    work.verification = lambda corpus, say: verify(None, say)
sys.exit(cli.main(["sweep", *sys.argv[2:]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("found", ["by the driver", "by a trial"])
def test_a_sweep_on_an_altered_corpus_ends_by_name_and_goes_on_when_it_is_mended(corpus, tmp_path, found):
    shard = corpus.path / "shards" / "00000.arrow"
    sound = shard.read_bytes()
    alter(corpus)
    file = tmp_path / "tiny.yaml"
    file.write_text(SWEEP.format(corpus=corpus.path))
    command = [sys.executable, "-c", textwrap.dedent(RUN), found, str(file), "--results", str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"error: shard {shard} was altered: its SHA-256 is" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    folder = SweepFolder(tmp_path / "results" / "tiny")
    assert not len(read_table(folder, "trials"))
    shard.write_bytes(sound)
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = read_table(folder, "trials").to_pylist()
    assert [(row["status"], row["corpus_verified"]) for row in rows] == [("finished", True)] * 2
