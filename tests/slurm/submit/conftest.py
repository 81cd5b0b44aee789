"""A project with a small sweep, a stand-in for sbatch, and what was measured before."""

import json
import os
import shlex
import sys

import pytest
from submit_cases import CPU, FRAMES, SWEEP

from ser_ray.models import ModelConfig
from ser_ray.process import guarded
from ser_ray.results import SweepFolder, make_table, write_part
from ser_ray.slurm import submit
from ser_ray.sweep.planning import hours as estimate
from ser_ray.training.config import TrainingConfig
from ser_ray.trial import TrialConfig, keyed_config, trial_key


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project's folder as the working folder, whose name needs quotes."""
    folder = tmp_path / "my project #1"
    for file in ("slurm/launch.sh", "ser_ray/__init__.py", ".venv/bin/python", "sweeps/small.yaml"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    (folder / "sweeps" / "small.yaml").write_text(SWEEP)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("SER_RAY_PYTHON", raising=False)
    monkeypatch.setattr(estimate, "_measure", lambda *_: pytest.fail("a step was measured on the login node"))
    return folder


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """Puts a stand-in first on PATH; returns what sets what it does, and what it was given."""
    folder, record = tmp_path / "bin", tmp_path / "sbatch.json"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def does(shell="echo Submitted batch job 4711"):
        note = f"import json, sys; json.dump(sys.argv[1:], open({str(record)!r}, 'w'))"
        script = f'#!/bin/bash\n{sys.executable} -c {shlex.quote(note)} "$@"\n{shell}\n'
        (folder / "sbatch").write_text(script)
        (folder / "sbatch").chmod(0o755)

    does()
    does.given = lambda: json.loads(record.read_text()) if record.exists() else None
    return does


@pytest.fixture
def run(project, sbatch, tiny_corpus, capsys):
    """Runs the command on the tiny corpus; returns its exit code and what it printed."""

    def call(*arguments, file="sweeps/small.yaml"):
        code = guarded(submit.main, [file, "--corpus", str(tiny_corpus.path), *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture
def planned(tiny_corpus):
    """Keys and configurations of the sweep, in the order of its plan."""
    model = ModelConfig(channels=(3, 4), kernels=(4, 6), pools=(8, 8), hidden=5)
    configs = [
        TrialConfig(model=model, training=TrainingConfig(epochs=3, batch_size=3, sequence_s=length, seed=seed))
        for seed in range(3)
        for length in (0.04, 0.08)
    ]
    return {trial_key(config, tiny_corpus.fingerprint): config for config in configs}


@pytest.fixture
def put(project, tiny_corpus):
    """Writes rows of trials into results/SWEEP."""

    def write(sweep, key, config, **columns):
        folder = SweepFolder(project / "results" / sweep)
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.sweep_file.touch()
        row = {
            "key": key,
            "status": "finished",
            "precision": "float32",
            "batch_size": config.training.batch_size,
            "sequence_s": config.training.sequence_s,
            "config": json.dumps(keyed_config(config, tiny_corpus.fingerprint)),
            **columns,
        }
        write_part(folder, "trials", key, make_table("trials", [row]))

    return write


@pytest.fixture
def measured(put, planned):
    """Says in another sweep how many hours each trial of this one takes on a device."""

    def tell(hours, device=CPU, backend="fused", **columns):
        for number, config in enumerate(list(planned.values())[:2]):
            speed = FRAMES * 64 / (3600 * hours)
            row = {"device": device, "backend": backend, "samples_per_second": speed, **columns}
            put("other", f"{device[-1]}{backend}{columns.get('precision', '')}{number}", config, **row)

    return tell
