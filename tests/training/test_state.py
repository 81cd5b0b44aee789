"""Checkpoints that can be read and do not fit their training: the one before is gone on from, and nothing is lost."""

import os
from typing import get_args

import pytest
import torch
from training_cases import run, stop_after

from ser_ray.training.checkpoint import load_checkpoint, save_checkpoint, save_last
from ser_ray.training.config import Optimizer
from ser_ray.training.supervision import Supervision, TrainingInterruptedError

pytestmark = pytest.mark.timeout(60, func_only=True)  # what waits for what never comes is ended


@pytest.fixture(scope="module")
def config(tiny_config):
    return tiny_config(epochs=3, optimizer="adam", learning_rate=5e-3)


@pytest.fixture(scope="module")
def whole(tiny_corpus, config, tmp_path_factory):
    """The last checkpoint of a training that was never disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    run(tiny_corpus, config, folder)
    return load_checkpoint(folder / "last.pt")


@pytest.fixture
def cut(tiny_corpus, config, tmp_path):
    """The checkpoints of a training that was asked to end in its second epoch; previous.pt is of the first."""
    with pytest.raises(TrainingInterruptedError):
        run(tiny_corpus, config, tmp_path, stop_after(7))
    return tmp_path


def assert_same(one, other):
    assert all(torch.equal(one["model"][name], other["model"][name]) for name in other["model"])
    assert all(torch.equal(one["best"][name], other["best"][name]) for name in other["best"])


def lacking(name):
    return lambda content: content.pop(name)


def having(name, value):
    return lambda content: content.update({name: value})


def with_weight(change, part="model"):
    def alter(content):
        content[part] = {name: tensor.clone() for name, tensor in content[part].items()}
        change(content[part], "head.weight")

    return alter


def with_state(change):
    return lambda content: change(content["optimizer"]["state"][0])


def with_report(**changes):
    return lambda content: content["epochs"][0].update(changes)


def with_training(**changes):
    return lambda content: content["training"].update({name.replace("__", "."): v for name, v in changes.items()})


UNFIT = {
    **{f"without {name}": lacking(name) for name in ("model", "optimizer", "random", "epochs", "best_epoch")},
    **{
        f"{name} is {value!r}": having(name, value)
        for name, value in [
            ("model", None),
            ("model", [1, 2]),
            ("best", "head"),
            ("optimizer", None),
            ("optimizer", {}),
            ("optimizer", {"state": {}, "param_groups": []}),
            ("optimizer", {"state": {}, "param_groups": 3}),
            ("random", None),
            ("random", [0] * 5056),
            ("random", torch.zeros(3, dtype=torch.uint8)),
            ("random", torch.zeros(5056)),
            ("epochs", None),
            ("epochs", {}),
            ("epochs", [{}]),
            ("epochs", [None]),
            ("best_epoch", None),
            ("best_epoch", 0),
            ("best_epoch", 2),
            ("best_epoch", True),
            ("losses", None),
            ("losses", [0.5] * 50),
            ("losses", ["low"]),
            ("losses", [float("nan")]),
            ("seconds", "long"),
            ("seconds", -1.0),
            ("training", "mine"),
        ]
    },
    "a weight is missing": with_weight(lambda weights, name: weights.pop(name)),
    "a weight too many": with_weight(lambda weights, name: weights.update(another=weights[name])),
    "a weight of another shape": with_weight(lambda weights, name: weights.update({name: weights[name][:, :-1]})),
    "a weight of another type": with_weight(lambda weights, name: weights.update({name: weights[name].double()})),
    "a weight that is not a tensor": with_weight(lambda weights, name: weights.update({name: 0.5})),
    "a weight that is NaN": with_weight(lambda weights, name: weights[name].view(-1)[3].fill_(float("nan"))),
    "a weight that is infinite": with_weight(lambda weights, name: weights[name].view(-1)[0].fill_(float("inf"))),
    "a best weight that is NaN": with_weight(lambda weights, name: weights[name].fill_(float("nan")), "best"),
    "a best weight of another shape": with_weight(lambda w, name: w.update({name: w[name][:1]}), "best"),
    "no state of a parameter": lambda content: content["optimizer"]["state"].pop(2),
    "an entry of the state is missing": with_state(lambda state: state.pop("exp_avg")),
    "the state of another optimiser": with_state(lambda state: state.update(square_avg=state.pop("exp_avg_sq"))),
    "a state of another shape": with_state(lambda state: state.update(exp_avg=torch.zeros(2))),
    "a state that is NaN": with_state(lambda state: state["exp_avg"].fill_(float("nan"))),
    "a state that is not a tensor": with_state(lambda state: state.update(exp_avg=1)),
    "another learning rate": lambda content: content["optimizer"]["param_groups"][0].update(lr=1.0),
    "other parameters": lambda content: content["optimizer"]["param_groups"][0].update(params=[0]),
    "an epoch without number": with_report(epoch="first"),
    "an epoch of another number": with_report(epoch=2),
    "scores that are none": with_report(devel=0.5),
    "a time that is none": with_report(ended_at="yesterday"),
    "more epochs than there are": lambda c: c.update(epochs=[{**c["epochs"][0], "epoch": n} for n in (1, 2, 3, 4)]),
    "another seed's": with_training(training__seed=77),
    "another network's": with_training(model__hidden=6),
    "another corpus's": with_training(corpus="0123456789ab"),
}


def test_a_checkpoint_that_fits_is_gone_on_from_without_a_message(tiny_corpus, config, whole, cut):
    logged = []
    run(tiny_corpus, config, cut, Supervision(log=logged.append))
    assert logged == []
    assert_same(load_checkpoint(cut / "last.pt"), whole)


@pytest.mark.parametrize("kind", UNFIT)
def test_the_checkpoint_before_one_that_does_not_fit_is_gone_on_from(tiny_corpus, config, whole, cut, kind):
    content = load_checkpoint(cut / "last.pt")
    UNFIT[kind](content)
    torch.save(content, cut / "last.pt")
    unfit, logged = (cut / "last.pt").read_bytes(), []
    run(tiny_corpus, config, cut, Supervision(log=logged.append))
    (line,) = logged
    assert line.startswith(f"{cut / 'last.pt'} does not fit this training (")
    assert line.endswith("; moved it to damaged-last.pt; resuming from the previous checkpoint")
    assert "\n" not in line
    assert (cut / "damaged-last.pt").read_bytes() == unfit
    assert_same(load_checkpoint(cut / "last.pt"), whole)


def folder_of(path):
    path.mkdir()
    (path / "inside").write_text("kept")


IRREGULAR = {
    "a folder": folder_of,
    "a named pipe": os.mkfifo,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a loop of links": lambda path: path.symlink_to(path.name),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a text": lambda path: path.write_text("weights"),
    "a list": lambda path: torch.save([1, 2], path),
}


@pytest.mark.parametrize("kind", IRREGULAR)
@pytest.mark.parametrize("names", [("last.pt",), ("last.pt", "previous.pt"), ("best.pt",)], ids=str)
def test_what_is_no_checkpoint_in_the_place_of_one_is_put_aside(tiny_corpus, config, whole, cut, kind, names):
    for name in names:
        (cut / name).unlink()
        IRREGULAR[kind](cut / name)
    logged = []
    run(tiny_corpus, config, cut, Supervision(log=logged.append))
    assert [line.split()[0] for line in logged] == [str(cut / name) for name in names if name != "best.pt"]
    if "previous.pt" in names:
        assert logged[-1].endswith("; training from the start")
    assert_same(load_checkpoint(cut / "last.pt"), whole)
    best = load_checkpoint(cut / "best.pt")
    assert best["epoch"] == whole["best_epoch"]
    assert all(torch.equal(best["model"][name], whole["best"][name]) for name in whole["best"])


def test_the_sound_checkpoint_that_was_gone_on_from_is_not_replaced_by_the_damaged_one(tiny_corpus, config, cut):
    (cut / "last.pt").write_bytes(b"")
    with pytest.raises(TrainingInterruptedError):
        run(tiny_corpus, config, cut, stop_after(1))
    for name in ("last.pt", "previous.pt"):
        assert len(load_checkpoint(cut / name)["epochs"]) == 1


def test_no_damaged_checkpoint_takes_the_place_of_another(tiny_corpus, config, cut):
    for number in range(3):
        (cut / "last.pt").write_text(f"damage {number}")
        with pytest.raises(TrainingInterruptedError):
            run(tiny_corpus, config, cut, stop_after(1))
    kept = [cut / f"damaged-last{end}.pt" for end in ("", "-2", "-3")]
    assert [path.read_text() for path in kept] == ["damage 0", "damage 1", "damage 2"]


def test_a_file_system_in_trouble_is_no_damage(tiny_corpus, config, cut, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error", str(cut / "last.pt"))

    monkeypatch.setattr("zipfile.ZipFile", fail)
    with pytest.raises(OSError, match="Input/output error"):
        run(tiny_corpus, config, cut)
    assert (cut / "last.pt").is_file()


@pytest.mark.parametrize("optimizer", get_args(Optimizer))
@pytest.mark.parametrize("blocks", [1, 3, 4, 6])
def test_each_optimiser_goes_on_from_its_own_checkpoints(tiny_corpus, tiny_config, tmp_path, optimizer, blocks):
    config, logged = tiny_config(epochs=2, optimizer=optimizer, weight_decay=0.01), []
    with pytest.raises(TrainingInterruptedError):
        run(tiny_corpus, config, tmp_path, stop_after(blocks))
    run(tiny_corpus, config, tmp_path, Supervision(log=logged.append))
    assert logged == []


def test_a_training_of_more_epochs_goes_on_from_one_of_fewer_and_not_the_other_way(
    tiny_corpus, tiny_config, whole, tmp_path
):
    more, fewer = (tiny_config(epochs=n, optimizer="adam", learning_rate=5e-3) for n in (3, 2))
    logged = []
    run(tiny_corpus, fewer, tmp_path)
    run(tiny_corpus, more, tmp_path, Supervision(log=logged.append))
    assert logged == []
    assert_same(load_checkpoint(tmp_path / "last.pt"), whole)
    save_last(tmp_path, load_checkpoint(tmp_path / "last.pt"))
    run(tiny_corpus, fewer, tmp_path, Supervision(log=logged.append))
    assert "does not fit this training (it has 3 epochs, but this training has at most 2)" in logged[0]


@pytest.mark.parametrize("change", ["weights", "model_config", "label_rate"])
def test_a_best_checkpoint_that_is_not_of_this_training_is_written_anew(tiny_corpus, config, whole, cut, change):
    run(tiny_corpus, config, cut)
    good = (content := load_checkpoint(cut / "best.pt")).copy()
    if change == "weights":
        content["model"] = {name: 2 * tensor for name, tensor in content["model"].items()}
    else:
        content[change] = None
    save_checkpoint(cut / "best.pt", content)
    run(tiny_corpus, config, cut)
    found = load_checkpoint(cut / "best.pt")
    assert {k: v for k, v in found.items() if k != "model"} == {k: v for k, v in good.items() if k != "model"}
    assert all(torch.equal(found["model"][name], whole["best"][name]) for name in whole["best"])


def test_what_a_killed_process_left_half_written_goes_when_its_training_goes_on(tiny_corpus, config, whole, cut):
    left = [cut / f".{name}.0123abcd" for name in ("last.pt", "previous.pt", "best.pt")]
    for path in left:
        path.write_bytes(b"half")
    run(tiny_corpus, config, cut)
    assert sorted(path.name for path in cut.iterdir()) == ["best.pt", "last.pt", "previous.pt"]
    assert_same(load_checkpoint(cut / "last.pt"), whole)
