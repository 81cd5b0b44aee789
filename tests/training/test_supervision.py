"""A training that is asked to end, saved within epochs, and taken up from checkpoints that are damaged."""

import contextlib
import os
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_cases import run, stop_after

from ser_ray.errors import InputError
from ser_ray.training.checkpoint import load_checkpoint, load_last, save_last
from ser_ray.training.supervision import Supervision, TrainingInterruptedError


def assert_same(one, other):
    a, b = load_checkpoint(one), load_checkpoint(other)
    assert all(torch.equal(a["model"][name], b["model"][name]) for name in a["model"])
    if "best" in a:
        assert all(torch.equal(a["best"][name], b["best"][name]) for name in a["best"])
        assert [(e["train_loss"], e["devel"], e["best"]) for e in a["epochs"]] == [
            (e["train_loss"], e["devel"], e["best"]) for e in b["epochs"]
        ]


@pytest.fixture(scope="module")
def config(tiny_config):
    return tiny_config(epochs=3, segments="random", optimizer="adam", learning_rate=5e-3)


@pytest.fixture(scope="module")
def whole(tiny_corpus, config, tmp_path_factory):
    """The checkpoints of a training that was never disturbed, and in how many blocks of work."""
    folder, blocks = tmp_path_factory.mktemp("whole"), []
    run(tiny_corpus, config, folder, Supervision(alive=lambda: blocks.append(1)))
    return folder, len(blocks)


@given(stops=st.lists(st.integers(1, 12), max_size=5))
@settings(deadline=None, max_examples=12)
def test_a_training_asked_to_end_anywhere_ends_as_an_undisturbed_one(
    tiny_corpus, config, whole, tmp_path_factory, stops
):
    folder = tmp_path_factory.mktemp("cut")
    for blocks in stops:
        with contextlib.suppress(TrainingInterruptedError):
            run(tiny_corpus, config, folder, stop_after(blocks))
    run(tiny_corpus, config, folder)
    for name in ("last.pt", "best.pt"):
        assert_same(whole[0] / name, folder / name)


def test_nothing_is_done_twice_after_an_interruption(tiny_corpus, config, whole, tmp_path):
    blocks = []
    with pytest.raises(TrainingInterruptedError):
        run(tiny_corpus, config, tmp_path, stop_after(2))
    assert len(load_checkpoint(tmp_path / "last.pt")["losses"]) == 2
    run(tiny_corpus, config, tmp_path, Supervision(alive=lambda: blocks.append(1)))
    assert len(blocks) == whole[1] - 2


def test_the_time_of_an_epoch_is_that_of_all_its_processes(tiny_corpus, config, tmp_path):
    with pytest.raises(TrainingInterruptedError):
        run(tiny_corpus, config, tmp_path, stop_after(2))
    content = load_checkpoint(tmp_path / "last.pt")
    content["seconds"] = 1000.0
    save_last(tmp_path, content)
    trained = run(tiny_corpus, config, tmp_path)
    assert 1000 < trained.epochs[0].train_seconds < 1060 > 60 > trained.epochs[1].train_seconds


def test_a_training_is_saved_within_an_epoch(tiny_corpus, config, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        "ser_ray.training.loop.save_last",
        lambda folder, content: (
            saved.append((len(content["epochs"]), len(content["losses"]))),
            save_last(folder, content),
        ),
    )
    run(tiny_corpus, config, tmp_path, Supervision(save_every_s=0.0))
    assert saved[:4] == [(0, 1), (0, 2), (0, 3), (0, 3)]
    saved.clear()
    shutil.rmtree(tmp_path)
    run(tiny_corpus, config, tmp_path)
    assert saved == [(1, 0), (2, 0), (3, 0)]


def damage(path, at=0.5):
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 0x10
    path.write_bytes(content)


def interrupted(tiny_corpus, config, folder, blocks=7):
    with pytest.raises(TrainingInterruptedError):
        run(tiny_corpus, config, folder, stop_after(blocks))


@pytest.mark.parametrize(
    "how", [damage, lambda path: path.write_bytes(b""), lambda path: path.unlink()], ids=["damaged", "empty", "gone"]
)
def test_the_checkpoint_before_a_damaged_one_is_used(tiny_corpus, config, whole, tmp_path, how):
    interrupted(tiny_corpus, config, tmp_path)
    before = load_checkpoint(tmp_path / "previous.pt")
    how(tmp_path / "last.pt")
    logged = []
    found = load_last(tmp_path, logged.append)
    assert found["epochs"] == before["epochs"]
    assert not logged or (
        "last.pt is not a readable checkpoint" in logged[0] and "resuming from the previous checkpoint" in logged[0]
    )
    run(tiny_corpus, config, tmp_path, Supervision(log=logged.append))
    for name in ("last.pt", "best.pt"):
        assert_same(whole[0] / name, tmp_path / name)


def test_where_no_checkpoint_is_whole_the_training_begins_again(tiny_corpus, config, whole, tmp_path):
    interrupted(tiny_corpus, config, tmp_path)
    logged = []
    for name in ("last.pt", "previous.pt", "best.pt"):
        damage(tmp_path / name)
    run(tiny_corpus, config, tmp_path, Supervision(log=logged.append))
    assert "previous.pt is not a readable checkpoint" in logged[1]
    assert logged[1].endswith("training from the start")
    assert_same(whole[0] / "last.pt", tmp_path / "last.pt")


@pytest.mark.parametrize("how", [damage, lambda path: path.unlink()], ids=["damaged", "gone"])
def test_a_damaged_best_epoch_is_written_anew(tiny_corpus, config, whole, tmp_path, how):
    run(tiny_corpus, config, tmp_path)
    how(tmp_path / "best.pt")
    trained = run(tiny_corpus, config, tmp_path)
    assert_same(whole[0] / "best.pt", tmp_path / "best.pt")
    best = load_checkpoint(tmp_path / "best.pt")
    assert best["epoch"] == trained.best_epoch
    assert all(torch.equal(best["model"][name], tensor) for name, tensor in trained.model.state_dict().items())


@given(at=st.floats(0, 0.999))
@settings(deadline=None, max_examples=60)
def test_a_flipped_bit_of_the_weights_is_never_taken_for_them(tmp_path_factory, at):
    folder = tmp_path_factory.mktemp("bits")
    weights = torch.arange(5000, dtype=torch.float32)
    save_last(folder, {"model": weights})
    damage(folder / "last.pt", at)
    try:
        found = load_checkpoint(folder / "last.pt")
    except InputError:
        return
    assert torch.equal(found["model"], weights)  # the bit was in padding, or in what zip says twice


def test_a_training_of_version_0_1_0_goes_on(tiny_corpus, config, whole, tmp_path):
    interrupted(tiny_corpus, config, tmp_path)
    content = load_checkpoint(tmp_path / "previous.pt")
    best = load_checkpoint(tmp_path / "best.pt")
    assert best["epoch"] == content["best_epoch"] == len(content["epochs"]) == 1
    old = {name: value for name, value in content.items() if name not in ("best", "losses", "seconds")}
    assert not content["losses"]
    torch.save(old, tmp_path / "last.pt")
    run(tiny_corpus, config, tmp_path)
    for name in ("last.pt", "best.pt"):
        assert_same(whole[0] / name, tmp_path / name)


def test_a_full_disk_leaves_both_checkpoints(tmp_path, monkeypatch):
    save_last(tmp_path, {"epoch": 1})
    save_last(tmp_path, {"epoch": 2})

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_last(tmp_path, {"epoch": 3})
    assert (load_checkpoint(tmp_path / "last.pt"), load_checkpoint(tmp_path / "previous.pt")) == (
        {"epoch": 2},
        {"epoch": 1},
    )
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_system_without_links_keeps_both_too(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    for epoch in (1, 2, 3):
        save_last(tmp_path, {"epoch": epoch})
    assert load_checkpoint(tmp_path / "last.pt") == {"epoch": 3}
    assert load_checkpoint(tmp_path / "previous.pt") == {"epoch": 2}
    assert len(list(tmp_path.iterdir())) == 2
