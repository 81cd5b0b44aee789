"""sbatch --gpus=N slurm/launch.sh on a real controller: each step has its own node's GPUs; steps that cannot start."""

import time

import pytest

pytestmark = pytest.mark.slurm

STAND_IN = """#!/bin/bash
# in the place of Python: each node tells what its step has, and the driver waits until both have
case " $* " in
*" --print-folder "*) echo "$PWD/results/x" ;;
*" ser_ray.slurm.node "*)
    echo "$(hostname) has $SLURM_GPUS_ON_NODE GPUs ($CUDA_VISIBLE_DEVICES), $SLURM_CPUS_ON_NODE CPUs"
    touch "$3/told-$(hostname)"
    while [[ -e $3/go ]]; do sleep 0.05; done
    ;;
*) for _ in {1..200}; do [[ -e ${*: -3:1}/told-n1 && -e ${*: -3:1}/told-n2 ]] && exit 0; sleep 0.1; done; exit 1 ;;
esac
"""


@pytest.mark.parametrize(
    ("options", "first", "second"),
    [
        (["--gpus=4"], "2 GPUs (0,1), 1 CPUs", "2 GPUs (0,1), 1 CPUs"),
        (["--gpus=3"], "2 GPUs (0,1), 1 CPUs", "1 GPUs (0), 1 CPUs"),
        (["--gpus=2", "--cpus-per-task=3"], "1 GPUs (0), 3 CPUs", "1 GPUs (0), 3 CPUs"),
        (["--gpus=4", "--gpus-per-node=2"], "2 GPUs (0,1), 1 CPUs", "2 GPUs (0,1), 1 CPUs"),
        (["--gpus=2", "--gpus-per-task=1"], "1 GPUs (0), 1 CPUs", "1 GPUs (0), 1 CPUs"),
        (["--gpus=3", "--mem-per-gpu=100"], "2 GPUs (0,1), 1 CPUs", "1 GPUs (0), 1 CPUs"),
        (["--gpus=4", "--cpus-per-gpu=2"], "2 GPUs (0,1), 4 CPUs", "2 GPUs (0,1), 4 CPUs"),
        (["--gres=gpu:1"], "1 GPUs (0), 1 CPUs", "1 GPUs (0), 1 CPUs"),
        (["--gpus-per-node=2"], "2 GPUs (0,1), 1 CPUs", "2 GPUs (0,1), 1 CPUs"),
        (["--gpus-per-task=1"], "1 GPUs (0), 1 CPUs", "1 GPUs (0), 1 CPUs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_each_step_has_the_gpus_of_its_node_however_the_job_asked_for_them(slurm, project, options, first, second):
    python = project / "python"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    (project / "slurm" / "site.env").write_text(f"SER_RAY_PYTHON=('{python}')\n")
    job = slurm.sbatch("--nodes=2", *options, "slurm/launch.sh", "x.yaml", cwd=project)
    slurm.wait_for(job, "COMPLETED", "FAILED", seconds=60)
    log = slurm.log(job)
    assert f"n1 has {first}\n" in log
    assert f"n2 has {second}\n" in log
    assert "ends with 0" in log
    assert "srun: " not in log


def test_when_no_step_can_start_the_job_ends_at_once_with_sruns_words(slurm, project, tiny_sweep):
    # the sweep itself, at the other end: what makes srun refuse is all one
    (project / "slurm" / "site.env").write_text("export SLURM_GRES=gpu:9\n")
    job = slurm.sbatch("--nodes=2", "--gpus-per-node=1", "slurm/launch.sh", tiny_sweep(), cwd=project)
    slurm.wait_until(lambda: "starting Ray" in slurm.log(job), 120, "the sweep")
    began = time.monotonic()
    assert slurm.wait_for(job, "FAILED", seconds=60)["ExitCode"] == "2:0"
    assert time.monotonic() - began < 30
    log = slurm.log(job)
    assert "launch.sh  the step of node n1 is over: srun: error: " in log
    assert "all job steps ended before Ray was up on the 2 nodes of this job\n  n1: srun: error: " in log
    assert "Invalid generic resource" in log
    assert "Traceback" not in log
