"""What the command tells the job that runs it, and what a signal at its end changes."""

import pytest

from ser_ray.errors import InputError
from ser_ray.process import SignalInterrupt, guarded
from ser_ray.sweep import command
from ser_ray.sweep.running import run


@pytest.fixture
def ended(tmp_path, monkeypatch):
    """Return how a command ends within a job whose sweep does as it is told, and whether it told its outcome."""

    def end(does):
        (tmp_path / "running").touch()
        monkeypatch.setattr(command, "_run", does)
        try:
            code = guarded(command.main, ["x.yaml", "--meeting", str(tmp_path), "--nodes", "1"])
        except RecursionError as error:
            code = error
        return code, not (tmp_path / "running").exists()

    return end


def raises(error):
    def does(*_):
        raise error

    return does


@pytest.mark.parametrize("code", [0, 1, 75])
def test_a_sweep_that_ends_tells_the_job_that_it_did(ended, code):
    assert ended(lambda *_: code) == (code, True)


@pytest.mark.parametrize(("error", "code"), [(InputError("no"), 2), (SignalInterrupt("SIGTERM"), 75)])
def test_what_the_door_says_is_an_outcome_too(ended, error, code):
    assert ended(raises(error)) == (code, True)


def test_what_nobody_meant_is_none(ended):
    error = RecursionError()
    assert ended(raises(error)) == (error, False)


def test_an_outcome_that_cannot_be_told_changes_no_code(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_run", lambda *_: 75)
    (tmp_path / "running").mkdir()  # which no report removes
    assert command.main(["x.yaml", "--meeting", str(tmp_path), "--nodes", "1"]) == 75


def test_asked_to_end_while_it_clears_up_a_sweep_still_ends_as_it_came_out(tiny_corpus, tmp_path, monkeypatch, capsys):
    file = tmp_path / "x.yaml"
    sizes = "trial: {model: {kernels: [4, 6], pools: [8, 8], channels: [3, 4]}}"
    file.write_text(f"name: x\ncorpus: {tiny_corpus.path}\n{sizes}\nresources: {{gpus: 0}}\n")
    finished = run.TrialStates(frozenset(["k"]), frozenset(), {}, (), ())
    monkeypatch.setattr(run, "read_states", lambda *_: finished)
    monkeypatch.setattr(run, "searched_with", lambda *_: {})
    for module, name in ((run, "compact_tables"), (command, "_show_leaderboard")):
        monkeypatch.setattr(module, name, raises(SignalInterrupt("SIGTERM")))
    assert command.main([str(file), "--results", str(tmp_path / "results")]) == 0
