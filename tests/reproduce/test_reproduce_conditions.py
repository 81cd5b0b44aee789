"""What is said of the code, versions and device of a trial to be reproduced; trials and corpora that are refused."""

import itertools
import json
import shlex
import shutil

import pytest
from reproduce_cases import put_row, run, train, wrong

from ser_ray import provenance
from ser_ray.corpus import CorpusWriter, open_corpus
from ser_ray.reproduce import command as reproduce
from ser_ray.results import make_table, read_table, write_part


def test_keys_that_name_no_trial_are_refused(folder, make_trial, without_ray):
    assert "has no row of a trial 'abc'; it has no trials yet" in wrong(folder, "abc")
    for seed in range(20):  # sixteen beginnings: two trials share one
        put = make_trial(seed=seed)
        write_part(
            folder, "trials", put.key, make_table("trials", [{"key": put.key, "status": "failed", "error": "why"}])
        )
    known = sorted(folder.keys("trials"))
    shared = next(a[0] for a, b in itertools.pairwise(known) if a[0] == b[0])
    assert f"{shared!r} begins the keys of " in wrong(folder, shared)
    assert "has no row of a trial 'xyz'; trials there are: " in wrong(folder, "xyz")
    assert "has no row of a trial ''" in wrong(folder, "")
    assert f"trial {known[0]} failed (why)" in wrong(folder, known[0])
    assert run(folder, known[0]) == 2
    assert without_ray.commands == []


def test_a_trial_that_this_version_would_train_otherwise_is_refused(folder, make_trial, monkeypatch):
    trial = make_trial()
    train(trial)
    (row,) = read_table(folder, "trials").to_pylist()
    config = json.loads(row["config"])
    put_row(folder, trial.key, config=json.dumps({**config, "trial_version": 1}), git_commit="c0ffee")
    said = wrong(folder, trial.key)
    assert "trained with TRIAL_VERSION 1, but here it is" in said
    assert "check out the commit that trained it (c0ffee)" in said
    for training in (
        {**config["training"], "warmup": 3},
        {k: v for k, v in config["training"].items() if k != "decay"},
    ):
        put_row(folder, trial.key, config=json.dumps({**config, "training": training}))
        assert "with other settings (training: " in wrong(folder, trial.key)
    put_row(folder, trial.key, config=json.dumps({**config, "training": {**config["training"], "seed": 9}}))
    assert "has a configuration whose key is another" in wrong(folder, trial.key)


def test_another_corpus_is_refused_by_name(folder, make_trial, tiny_corpus, tmp_path, without_ray):
    trial = make_trial()
    train(trial)
    with CorpusWriter(tmp_path / "other", name="other", label_rate=250.0, targets=tiny_corpus.targets) as writer:
        for recording in (*tiny_corpus.recordings("train"), *tiny_corpus.recordings("devel")):
            audio, gold = tiny_corpus.audio(recording), tiny_corpus.gold(recording)
            writer.add(recording.name, recording.partition, recording.speaker, audio, gold)
    other = open_corpus(tmp_path / "other")
    said = wrong(folder, trial.key, "--corpus", str(other.path))
    assert other.fingerprint in said
    assert tiny_corpus.fingerprint in said
    assert "--corpus DIR" in said
    moved = tmp_path / "moved"
    shutil.copytree(tiny_corpus.path, moved)
    assert run(folder, trial.key, "--corpus", str(moved)) == 0
    folder.sweep_file.write_text("# corpus: tiny in /no/such folder in here\nname: tiny\ncorpus: x\n")
    assert "in /no/such folder in here, which does not exist; name the corpus with" in wrong(folder, trial.key)
    folder.sweep_file.write_text("name: tiny\n")
    assert "no corpus is named" in wrong(folder, trial.key)


def test_a_built_in_corpus_is_made_again_where_it_is_gone(folder, make_trial, tmp_path):
    trial = make_trial()
    train(trial)
    folder.sweep_file.write_text("# corpus: synthetic-demo in /gone\nname: tiny\ncorpus: synthetic-demo\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".corpora").touch()  # where it cannot be made
    with pytest.raises(OSError, match=r"Not a directory: '.*/out/\.corpora/\.{0,2}synthetic-demo-"):
        reproduce.prepare(folder, trial.key, None, tmp_path / "out")


def test_the_state_of_the_code_is_printed_and_how_to_check_it_out(folder, make_trial, here):
    trial = make_trial()
    train(trial)
    kept = folder.changes(provenance.changes_name("the patch"))

    def said(commit, diff=None):
        put_row(folder, trial.key, git_commit=commit, git_diff=diff)
        again = reproduce.prepare(folder, trial.key, None, folder.path)
        return [line for line in reproduce.conditions(folder, again) if "commit" in line]

    here("abc")
    assert said("abc") == ["commit: abc, as here"]
    assert said("def") == ["commit: def; here: abc; git checkout def"]
    assert said(None) == ["commit: not known; here: abc; git checkout not known"]
    assert said("abc+") == ["commit: abc, as here", "uncommitted changes: some, which were not recorded"]
    name = provenance.changes_name("the patch")
    assert said("abc+", name)[1] == f"uncommitted changes: git apply {kept}, which no longer exists"
    kept.parent.mkdir()
    kept.write_text("the patch")
    assert said("def+", name) == [
        "commit: def; here: abc; git checkout def",
        f"uncommitted changes: git apply {shlex.quote(str(kept))}",
    ]
    here("abc+", "the patch")
    assert said("abc+", name) == ["commit: abc, as here", "uncommitted changes: as here"]
    assert said("abc")[1] == "uncommitted changes: none, but here there are some; git stash"


def test_other_versions_and_devices_are_printed(folder, make_trial):
    trial = make_trial()
    train(trial)
    put_row(folder, trial.key, versions=json.dumps({"numpy": "0.1"}), device="cpu: an old one")
    lines = reproduce.conditions(folder, reproduce.prepare(folder, trial.key, None, folder.path))
    assert f"versions: numpy 0.1 (here {json.loads(provenance.versions())['numpy']})" in lines
    assert f"device: cpu: an old one; here: cpu: {provenance.cpu_name()}" in lines
    put_row(folder, trial.key, device=f"cpu: {provenance.cpu_name()}")
    lines = reproduce.conditions(folder, reproduce.prepare(folder, trial.key, None, folder.path))
    assert f"device: cpu: {provenance.cpu_name()}, as here" in lines
