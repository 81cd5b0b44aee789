"""Whether two trainings of a trial came to the same: to the bit, within rounding where that is expected, or not."""

import json
import math

import pytest

from ser_ray.reproduce.comparison import TOLERANCE, compare
from ser_ray.results import CCC_COLUMNS, EPOCHS, TRIALS

VERSIONS = {"python": "3.11.7", "torch": "2.11.0"}


def row(**columns):
    scores = {name: 0.5 + n / 1000 for n, name in enumerate(CCC_COLUMNS)}
    known = {
        "status": "finished",
        "epochs": 2,
        "best_epoch": 2,
        "git_commit": "a" * 40,
        "versions": json.dumps(VERSIONS),
        "device": "cpu: one",
        "precision": "float32",
        "backend": "fused",
        "deterministic": True,
        **scores,
        **columns,
    }
    return {name: known.get(name) for name in TRIALS.names}


def epochs(count=2, **columns):
    known = {"train_loss": 0.25, "ccc_devel_mean": 0.125, "ccc_devel_arousal": 0.5, "train_seconds": 3.0, **columns}
    return [{name: known.get(name) for name in EPOCHS.names} | {"epoch": n + 1} for n in range(count)]


STORED = row(), epochs()
DEVICE = {"device": "cpu: two"}


def test_the_same_figures_are_equal_whatever_the_device_or_time():
    found = compare(STORED, (row(**DEVICE, train_seconds=9.0), epochs(train_seconds=7.0)))
    assert (found.equal, found.good, found.verdict) == (True, True, "bit-identical")


@pytest.mark.parametrize("name", [*CCC_COLUMNS, "best_epoch"])
def test_a_figure_that_differs_in_its_last_bit_is_not_equal(name):
    value = STORED[0][name]
    other = value + 1 if name == "best_epoch" else math.nextafter(value, 2)
    found = compare(STORED, (row(**{name: other}), epochs()))
    assert (found.equal, found.good) == (False, False)
    assert "although commit, versions and device are identical" in found.verdict
    excused = compare(STORED, (row(**{name: other}, **DEVICE), epochs()))
    assert (excused.equal, excused.good) == (False, True)


@pytest.mark.parametrize("name", ["train_loss", "ccc_devel_mean", "ccc_devel_arousal"])
def test_each_epoch_counts(name):
    again = epochs()
    again[0][name] = math.nextafter(again[0][name], 2)
    assert not compare(STORED, (row(), again)).equal
    assert compare(STORED, (row(**DEVICE), again)).good


def test_a_loss_may_differ_more_than_a_ccc():
    again = epochs(train_loss=0.25 + 2 * TOLERANCE)
    assert compare(STORED, (row(**DEVICE), again)).good
    assert not compare(STORED, (row(), again)).good


@pytest.mark.parametrize("name", ["ccc_test_exhaustive_valence", "ccc_devel_mean_per_recording"])
def test_the_tolerance_is_for_every_ccc(name):
    for apart, good in ((0.99, True), (1.01, False)):
        other = row(**{name: STORED[0][name] + apart * TOLERANCE}, **DEVICE)
        found = compare(STORED, (other, epochs()))
        assert found.good == good
        assert ("more than the 0.001 expected" in found.verdict) == (not good)
        assert ("different rounding is expected" in found.verdict) == good
        assert compare(STORED, (other, epochs()), tolerance=1.0).good
    assert not compare(STORED, (row(**DEVICE), epochs(ccc_devel_mean=0.2))).good


@pytest.mark.parametrize(
    ("stored", "again", "said"),
    [
        ({}, DEVICE, "device (cpu: one and cpu: two)"),
        ({}, {"backend": "reference"}, "backend (fused and reference)"),
        ({}, {"precision": "bf16"}, "precision (float32 and bf16)"),
        ({}, {"git_commit": "b" * 40}, "commit (aaaaaaaaaaaa and bbbbbbbbbbbb)"),
        ({"git_commit": None}, {}, "commit (not known)"),
        ({"git_commit": None}, {"git_commit": None}, "commit (not known)"),
        ({"git_commit": "a+", "git_diff": "1"}, {"git_commit": "a+", "git_diff": "2"}, "uncommitted changes"),
        ({"git_commit": "a+"}, {"git_commit": "a+"}, "uncommitted changes"),
        ({}, {"versions": json.dumps({**VERSIONS, "torch": "2.12.0"})}, "torch (2.11.0 and 2.12.0)"),
        ({}, {"versions": json.dumps({**VERSIONS, "numba": "1"})}, "numba (None and 1)"),
        ({"device": None}, {}, "device (not known)"),
        (
            {"deterministic": False, "device": "gpu"},
            {"deterministic": False, "device": "gpu"},
            "order of sums (training.deterministic is false)",
        ),
    ],
)
def test_reasons_for_differences_are_named(stored, again, said):
    found = compare((row(**stored), epochs()), (row(**again, ccc_test_mean=0.5), epochs()), tolerance=1.0)
    assert found.reasons == (said,)
    assert found.good
    assert found.verdict.endswith(f"since these differ: {said}")


@pytest.mark.parametrize(
    "columns",
    [{}, {"git_commit": "a+", "git_diff": "1"}, {"deterministic": False}],
    ids=["clean", "the same changes", "a CPU is deterministic"],
)
def test_with_everything_the_same_no_difference_is_excused(columns):
    found = compare((row(**columns), epochs()), (row(**columns, ccc_test_mean=0.5), epochs()), tolerance=1.0)
    assert (found.reasons, found.good) == ((), False)


def test_a_figure_that_one_of_them_lacks_is_a_difference():
    for one, other in ((row(ccc_test_mean=None), row(**DEVICE)), (row(), row(ccc_test_mean=None, **DEVICE))):
        assert not compare((one, epochs()), (other, epochs())).good
    neither = row(ccc_test_mean=None)
    assert compare((neither, epochs()), (neither, epochs())).equal
    assert not compare(STORED, (row(epochs=3, **DEVICE), epochs(3))).good


def test_of_a_stopped_trial_the_epochs_count():
    stopped = row(status="stopped", best_epoch=1, ccc_devel_mean=0.1, device=None, precision=None, backend=None)
    assert compare((stopped, epochs()), (row(), epochs())).equal
    assert not compare((stopped, epochs()), (row(), epochs(ccc_devel_mean=0.7))).good
    assert not compare((stopped, epochs(1)), (row(), epochs(2))).equal
    assert not compare((stopped, epochs(2)), (row(), epochs(1))).equal


def test_the_table_has_the_figures_and_the_greatest_differences(capsys):
    again = epochs(train_loss=0.5)
    compare(STORED, (row(ccc_test_mean=0.5, **DEVICE), again)).show()
    out = capsys.readouterr().out.splitlines()
    lines = {line.split()[0]: line.split()[1:] for line in out if line.startswith(" ")}
    stored = STORED[0]["ccc_test_mean"]
    assert lines["ccc_test_mean"] == [f"{stored:.6f}", "0.500000", f"{stored - 0.5:.3g}"]
    assert lines["ccc_devel_greedy_valence"][-1] == "0"
    assert not any("per_recording" in name for name in lines)
    assert lines["train_loss,"] == ["all", "epochs", "0.25"]
    assert lines["greatest"] == ["of", "all", "0.25"]
    assert out[-1].startswith("CCC differ by at most ")
