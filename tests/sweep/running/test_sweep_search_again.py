"""`ser-ray postprocess`: trials of a sweep are searched again, from their predictions alone."""

import errno
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from sweep_processes import end, end_what_is_left

from ser_ray.errors import InputError
from ser_ray.postprocess.config import SearchConfig
from ser_ray.results import PREDICTIONS, SweepFolder, make_table, read_table, write_part
from ser_ray.sweep.nodes import cluster, node_watch
from ser_ray.sweep.planning.states import TrialStates
from ser_ray.sweep.running import search_again, search_pool
from ser_ray.sweep.running.run import _print_other_searches
from ser_ray.trial import search_trial

FRAMES = 200
HEAD = "# the sweep as run, trials: 2\n# corpus fingerprint: 0\n"
FILE = """name: s
trial:
  model:
    hidden: 5
  search:
    methods: ["greedy", "exhaustive"]
    choice: "per_target"
    max_window_s: 2.0
    max_shift_s: 1.0
    forward_only: false
explore: []
"""


def put(folder, key, seed=0):
    """A trained trial of both targets; predictions come late for one and early for the other."""
    rng = np.random.default_rng(seed)
    tables = []
    for partition in ("devel", "test"):
        for number in range(3):
            gold = np.cumsum(rng.normal(0, 0.1, (FRAMES, 2)), axis=0)
            late = np.stack([np.roll(gold[:, 0], 6), np.roll(gold[:, 1], -9)], axis=1)
            predicted = 0.2 + 0.5 * late + rng.normal(0, 0.05, gold.shape)
            columns = {
                "recording": [f"{partition}_{number}"] * FRAMES,
                "partition": [partition] * FRAMES,
                "frame": np.arange(FRAMES, dtype=np.int32),
                "time_s": np.arange(FRAMES) / 25,
            }
            for column, target in enumerate(("arousal", "valence")):
                columns[f"gold_{target}"], columns[f"prediction_{target}"] = gold[:, column], predicted[:, column]
            tables.append(pa.table(columns).select(PREDICTIONS.names).cast(PREDICTIONS))
    row = {"key": key, "sweep": "s", "targets": ["arousal", "valence"], "seed": seed, "config": "{}"}
    search = {"max_window_s": 2.0, "max_shift_s": 1.0}
    metadata = {"trial": json.dumps(row), "search": json.dumps(search)}
    write_part(folder, "predictions", key, pa.concat_tables(tables), metadata=metadata)


@pytest.fixture
def folder(tmp_path):
    folder = SweepFolder(tmp_path / "s")
    for number, key in enumerate(("aa", "bb")):
        put(folder, key, number)
        search_trial(folder, key)
    folder.sweep_file.write_text(HEAD + FILE)
    return folder


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    end_what_is_left()


def found(folder):
    """All that searches wrote, less what time they took."""
    rows = {table: read_table(folder, table).to_pylist() for table in ("trials", "postprocessing")}
    times = {"search_seconds", "ended_at", "seconds"}
    return {table: [{c: v for c, v in row.items() if c not in times} for row in rows[table]] for table in rows}


def shifts(folder):
    rows = read_table(folder, "postprocessing").to_pylist()
    return {(row["key"], row["method"], row["target"]): row["shift"] for row in rows}


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_the_command_from_the_sweeps_own_settings_to_others_and_back(folder, capfd):
    before, predictions = found(folder), {key: folder.part("predictions", key).read_bytes() for key in ("aa", "bb")}
    failed = {"key": "bb", "status": "failed", "error": "post-processing search: OSError: disk"}
    write_part(folder, "trials", "bb", make_table("trials", [failed]))
    write_part(folder, "trials", "cc", make_table("trials", [{"key": "cc", "status": "failed"}]))
    assert search_again.main([str(folder.path)]) == 0
    out = capfd.readouterr().out
    assert "1 trials have no predictions (failed, stopped, or predictions deleted): they are unchanged" in out
    assert "searching 2 trials again: methods greedy and exhaustive, choice per_target, max_window_s 2.0" in out
    folder.part("trials", "cc").unlink()
    assert found(folder) == before, "the same search finds the same, and a trial that failed by its search is mended"
    assert {shift for (_, method, target), shift in shifts(folder).items() if method == "exhaustive"} >= {-6, 9}

    options = ["--method", "exhaustive", "--choice", "joint", "--max-shift-s", "0.2", "--forward-only", "--actors", "1"]
    assert search_again.main([str(folder.path), *options]) == 0
    out = capfd.readouterr().out
    assert "exhaustive mean CCC of 2 trials: devel" in out
    rows = read_table(folder, "postprocessing").to_pylist()
    assert {(row["method"], row["choice"], row["max_shift_s"], row["forward_only"]) for row in rows} == {
        ("exhaustive", "joint", 0.2, True)
    }
    assert all(0 <= shift <= 5 for shift in shifts(folder).values())
    for key in ("aa", "bb"):
        assert len({row["shift"] for row in rows if row["key"] == key}) == 1
    trials = read_table(folder, "trials").to_pylist()
    assert {row["ccc_devel_greedy_mean"] for row in trials} == {None}
    assert all(row["ccc_devel_exhaustive_crossfit_mean"] is not None for row in trials)
    text = folder.sweep_file.read_text()
    assert text.count("# searched again") == 2
    assert '    methods: ["exhaustive"]\n    choice: "joint"\n    max_window_s: 2.0\n    max_shift_s: 0.2\n' in text
    assert text.startswith(HEAD)
    assert text.endswith("    forward_only: true\nexplore: []\n")
    assert {key: folder.part("predictions", key).read_bytes() for key in ("aa", "bb")} == predictions

    options = ["aa", "--method", "greedy", "--method", "exhaustive", "--choice", "per_target", "--max-shift-s", "1"]
    assert search_again.main([str(folder.path), *options, "--no-forward-only"]) == 0
    assert "# searched again (aa alone) " in folder.sweep_file.read_text()
    assert folder.sweep_file.read_text().endswith(text[text.index("name: s") :]), "the other trial is as it was"
    assert [row for row in found(folder)["postprocessing"] if row["key"] == "aa"] == [
        row for row in before["postprocessing"] if row["key"] == "aa"
    ]
    assert not folder.tmp.exists(), list(folder.tmp.iterdir())


@pytest.mark.timeout(240)
def test_a_trial_that_cannot_be_searched_keeps_its_row_and_one_message_tells(folder, capfd):
    before = found(folder)
    folder.part("predictions", "bb").write_bytes(b"PAR1 and then rubbish")
    assert search_again.main([str(folder.path)]) == 1
    out = capfd.readouterr().out
    assert f"FAILED    bb  DamagedPartError: {folder.part('predictions', 'bb')} cannot be read" in out
    assert found(folder) == before


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_interrupted_search_leaves_each_trial_as_it_was_or_searched(folder):
    before = found(folder)
    for number in range(40):
        put(folder, f"k{number}", number)
    command = [sys.executable, "-m", "ser_ray", "postprocess", str(folder.path), "--actors", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        while len(folder.keys("trials")) < 5:
            assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGINT)
        code, out = end(process)
    finally:
        process.kill()
    assert code == 75, out
    assert "ending    received SIGINT" in out
    assert "of 42 trials are not yet searched again: run the same command to continue" in out
    assert "Traceback" not in out
    assert folder.keys("trials") >= {"aa", "bb"}
    assert {row["key"] for row in found(folder)["postprocessing"]} >= folder.keys("trials")
    kept = {table: [row for row in rows if row["key"] in ("aa", "bb")] for table, rows in found(folder).items()}
    assert kept == before
    assert search_again.main([str(folder.path)]) == 0
    assert len(folder.keys("trials")) == 42


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["zz"], "trial zz of {folder} cannot be searched: no such trial exists"),
        (["cc"], "trial cc of {folder} cannot be searched: it has no stored predictions"),
        (
            ["--max-shift-s", "-1"],
            "--max-shift-s -1.0: trial.search.max_shift_s is -1.0, but must be a number",
        ),
        (["--max-window-s", "inf"], "--max-window-s inf: trial.search.max_window_s is"),
        (["--actors", "0"], "--actors is 0, but must be at least 1"),
    ],
)
def test_wrong_input_is_answered_before_anything_is_touched(folder, options, message, capsys):
    write_part(folder, "trials", "cc", make_table("trials", [{"key": "cc", "status": "finished"}]))
    text = folder.sweep_file.read_text()
    with pytest.raises(InputError) as raised:
        search_again.main([str(folder.path), *options])
    assert message.format(folder=folder.path) in str(raised.value)
    assert folder.sweep_file.read_text() == text


def test_a_sweep_that_is_running_is_left_alone(folder, monkeypatch):
    def refuse(*arguments):
        raise InputError("is being run by process 1")

    monkeypatch.setattr(search_again, "refuse_second_driver", refuse)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="is being run"):
        search_again.main([str(folder.path), "--max-shift-s", "0.2"])
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


def test_a_full_disk_is_said_before_any_row_is_touched(folder, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    before = found(folder)
    monkeypatch.setattr(search_again, "write_text", full)
    with pytest.raises(InputError, match="No space left on device; free disk space or get write permission"):
        search_again.main([str(folder.path)])
    assert found(folder) == before


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS", "EPERM", "EACCES", "ESTALE", "EIO"])
def test_results_that_turn_unwritable_are_no_fault_of_a_trial(folder, monkeypatch, capsys, name):
    error = OSError(getattr(errno, name), "in trouble", str(folder.path / "trials" / "bb.parquet"))
    pretend_to_search(monkeypatch, {"bb": error}, ends=True)
    assert search_again.main([str(folder.path)]) == 75
    out = capsys.readouterr().out
    assert "ending    results cannot be written: free disk space or get write permission, and run the same" in out
    assert f"({os.strerror(error.errno)}" in out
    assert "1 of 2 trials are not yet searched again: run the same command to continue" in out
    assert "FAILED" not in out


def test_predictions_that_vanish_are_a_trials_own_trouble(folder, monkeypatch, capsys):
    gone = FileNotFoundError(errno.ENOENT, "No such file", str(folder.path / "predictions" / "bb.parquet"))
    pretend_to_search(monkeypatch, {"bb": gone}, ends=False)
    assert search_again.main([str(folder.path)]) == 1
    assert "FAILED    bb  FileNotFoundError: [Errno 2] No such file: " in capsys.readouterr().out


def pretend_to_search(monkeypatch, errors, *, ends):
    """Have no cluster, and a pool that meets errors with some of the trials."""

    class Pool:
        def __init__(self, folder, actors, on_done, *, config):
            self.on_done = on_done

        def submit(self, key):
            self.on_done(key, errors.get(key))

        def close(self, now):
            assert now() == ends

    monkeypatch.setattr(search_pool, "SearchPool", Pool)
    monkeypatch.setattr(cluster, "cluster", lambda *arguments: nullcontext(SimpleNamespace(cpus=2.0)))
    monkeypatch.setattr(node_watch, "NodeWatch", lambda *arguments: nullcontext())


def test_a_ray_that_is_not_up_in_time_leaves_all_trials_as_they_are_to_be_searched(folder, monkeypatch, capsys):
    @contextmanager
    def late(*_):
        raise cluster.RayNotUpError("Ray did not start in time")
        yield

    before = read_table(folder, "trials")
    monkeypatch.setattr(cluster, "cluster", late)
    assert search_again.main([str(folder.path), "--choice", "joint"]) == 75
    out = capsys.readouterr().out
    assert "RAY       Ray did not start in time" in out
    assert "2 of 2 trials are not yet searched again: run the same command to continue" in out
    assert read_table(folder, "trials").equals(before)


def test_a_sweep_without_predictions_has_nothing_to_search(tmp_path):
    folder = SweepFolder(tmp_path / "s")
    folder.path.mkdir()
    folder.sweep_file.write_text(FILE)
    with pytest.raises(InputError, match="has no trial with predictions: run the sweep first"):
        search_again.main([str(folder.path)])
    with pytest.raises(InputError, match="is not a sweep's folder"):
        search_again.main([str(tmp_path / "nothing")])


def test_running_the_sweep_with_other_settings_says_what_stands_searched_otherwise(folder, capsys):
    def tell(**settings):
        config = SearchConfig(**{"max_window_s": 2.0, "max_shift_s": 1.0} | settings)
        trials = [SimpleNamespace(key=key, config=SimpleNamespace(search=config)) for key in ("aa", "bb")]
        _print_other_searches(folder, trials, TrialStates(finished=frozenset({"aa", "bb"})))
        return capsys.readouterr().out

    assert tell() == tell(methods=("greedy",)) == ""
    assert tell(choice="joint") == (
        "2 of them were searched with settings other than the present trial.search: ser-ray postprocess "
        f"{folder.path} searches them again\n"
    )


def test_settings_are_read_back_from_rows_and_compared():
    rows = [
        {"method": "greedy", "choice": "joint", "max_window_s": 2.0, "max_shift_s": None, "forward_only": True},
        {"method": "exhaustive", "choice": "joint", "max_window_s": 2.0, "max_shift_s": None, "forward_only": True},
    ]
    found = SearchConfig.of_rows(rows)
    assert found == SearchConfig(choice="joint", max_window_s=2.0, forward_only=True)
    assert SearchConfig.of_rows([]) == SearchConfig()
    assert found.covers(SearchConfig(methods=("greedy",), choice="joint", max_window_s=2.0, forward_only=True))
    assert not found.covers(SearchConfig(choice="joint", max_window_s=2.0))
    assert not SearchConfig(methods=("greedy",)).covers(SearchConfig())
