"""What the jobs run: a folder that is a checkout to them, and sweeps of seconds in it."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
SWEEP = """
name: {name}
corpus: {corpus}
trial:
  model: {{channels: [3, 4], hidden: 5, kernels: [4, 6], pools: [8, 8]}}
  training: {{epochs: {epochs}, sequence_s: 0.08, batch_size: 3, patience: {epochs}}}
explore:
  - training.learning_rate: {rates}
{more}
"""


def write_project(folder: Path) -> Path:
    """Make a folder with what a job uses of a checkout, and return it.

    The environment is a link to the one of this process, which also brings the code.
    """
    for name in ("slurm", "sweeps"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def write_sweep(
    project: Path,
    corpus: Path,
    *,
    name: str = "tiny",
    epochs: int = 3,
    rates: Sequence[float] = (1e-3, 2e-3),
    more: str = "",
) -> Path:
    """Write a sweep file of a trial per learning rate, and return its path within the project.

    Args:
        project: gets sweeps/NAME.yaml.
        corpus: of conftest.write_tiny_corpus; two trials of 400 epochs take half a minute on two cores.
        name: of the sweep.
        epochs: of each trial, however it goes.
        rates: learning rates; 1e6 diverges.
        more: further keys, such as "resources: {cpus: 1}".
    """
    texts = ", ".join(f"{rate:.6e}" for rate in rates)
    file = project / "sweeps" / f"{name}.yaml"
    file.write_text(SWEEP.format(name=name, corpus=corpus, epochs=epochs, rates=f"[{texts}]", more=more))
    return file.relative_to(project)
