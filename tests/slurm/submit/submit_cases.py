"""A small sweep, and what `ser-ray submit` prints of it."""

import shlex

SWEEP = """
name: small
trial:
  model: {channels: [3, 4], kernels: [4, 6], pools: [8, 8], hidden: 5}
  training: {epochs: 3, batch_size: 3}
explore:
  - training.sequence_s: [0.04, 0.08]
replicates: 3
resources: {cpus: 2, gpus: 0.25}
"""
GUIDED = SWEEP.replace(
    "  - training.sequence_s: [0.04, 0.08]", "  - guided: {count: 4, training.learning_rate: [0.1, 0.01, 1e-3, 1e-4]}"
)
FRAMES = 3 * (142 + 83 / 3) + (83 + 68) / 3
"""Of the tiny corpus in a trial: three epochs over train and devel, then devel and test; evaluation counts a third."""
CPU, GPU = "cpu: A", "gpu A"


def line_of(out):
    (line,) = [line for line in out.splitlines() if line.startswith("sbatch ")]
    return shlex.split(line)


def options_of(out):
    line = line_of(out)
    return line[1 : line.index("slurm/launch.sh")]
