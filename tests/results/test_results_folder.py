"""The sweep that a user names by its folder, and the trial by its key or the beginning of it."""

import pytest

from ser_ray.errors import InputError
from ser_ray.results import SCHEMAS, SweepFolder, find_key, open_sweep

KEYS = {
    "trials": "20cd03ef0123",
    "epochs": "21cd04ef0123",
    "postprocessing": "22cd05ef0123",
    "predictions": "aaaaaaaaaaaa",
}
LOGGED = "cccccccccccc"


@pytest.fixture
def folder(tmp_path):
    """A trial per table, and one that has a log alone."""
    folder = SweepFolder(tmp_path)
    for path in (*(folder.part(table, key) for table, key in KEYS.items()), folder.log(LOGGED)):
        path.parent.mkdir()
        path.touch()
    return folder


@pytest.mark.parametrize("length", [3, 12])
def test_every_key_is_found_by_its_beginning_whatever_files_the_trial_has(folder, length):
    assert set(KEYS) == set(SCHEMAS)
    for key in (*KEYS.values(), LOGGED):
        assert find_key(folder, key[:length]) == key


def test_a_beginning_of_several_is_refused_with_their_number(folder):
    with pytest.raises(
        InputError,
        match=r"'2' begins the keys of 3 trials: 20cd03ef0123, .*; give more characters of "
        r"the key",
    ):
        find_key(folder, "2")


def test_a_wrong_key_names_near_ones(folder):
    with pytest.raises(InputError, match=r"no trial '20cd03ef0124'; trials there are: 20cd03ef0123"):
        find_key(folder, "20cd03ef0124")


def test_a_sweep_is_found_by_its_file(tmp_path):
    for name in ("overlap", "demo"):
        (tmp_path / "results" / name).mkdir(parents=True)
        (tmp_path / "results" / name / "sweep.yaml").write_text("name: x")
    assert open_sweep(tmp_path / "results" / "demo") == SweepFolder(tmp_path / "results" / "demo")
    near = f"sweeps nearby: {tmp_path / 'results' / 'demo'}, {tmp_path / 'results' / 'overlap'}"
    for wrong in ("results", "results/overlapp"):
        with pytest.raises(InputError) as raised:
            open_sweep(tmp_path / wrong)
        assert str(raised.value) == (
            f"{tmp_path / wrong} is not a sweep's folder (with sweep.yaml, such as results/overlap); {near}"
        )
    with pytest.raises(InputError, match=r"is not a sweep's folder \(with sweep\.yaml, such as results/overlap\)$"):
        open_sweep(tmp_path / "nowhere" / "at" / "all")
