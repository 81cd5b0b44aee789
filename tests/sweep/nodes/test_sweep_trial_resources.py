"""What each trial gets of the nodes that are there, and what is said where they hold less than was asked."""

from dataclasses import dataclass

import pytest

from ser_ray import triton_host
from ser_ray.errors import InputError
from ser_ray.sweep.nodes.trial_resources import trial_resources
from ser_ray.sweep.spec.config import Resources


@dataclass(frozen=True)
class Nodes:
    """A cluster of which nothing runs."""

    nodes: tuple[tuple[float, float], ...]

    @property
    def cpus(self):
        return sum(cpus for cpus, _ in self.nodes)

    @property
    def gpus(self):
        return sum(gpus for _, gpus in self.nodes)


@pytest.fixture(autouse=True)
def no_job(monkeypatch):
    for name in ("JOB_ID", "ARRAY_JOB_ID", "ARRAY_TASK_ID"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)


@pytest.fixture
def in_job(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")


@pytest.fixture
def given():
    """Return what gives the cores and the share of a GPU of a trial, and what was said."""

    def ask(nodes, **asked):
        said = []
        each = trial_resources(Resources(**asked), Nodes(tuple(nodes)), said.append)
        return (each.cpus, each.gpus), said

    return ask


@pytest.mark.parametrize("nodes", [[(4, 0)], [(1, 0), (2, 0)], [(0.5, 0)]])
def test_without_a_gpu_a_trial_takes_one_core_whatever_is_asked(given, nodes):
    assert given(nodes, cpus=8, gpus=1) == ((1.0, 0.0), [])


def test_who_asks_for_no_gpu_gets_one_core(given):
    assert given([(8, 2)], cpus=4, gpus=0) == ((1.0, 0.0), [])


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus"),
    [
        ([(8, 2)], 4, 1),
        ([(8, 1)], 2, 0.25),
        ([(8, 2), (16, 4)], 4, 1),
        ([(4, 0), (8, 2)], 4, 1),  # the node without a GPU keeps none waiting
        ([(16, 4)], 8, 2),
    ],
)
def test_where_there_is_room_a_trial_gets_what_is_asked_and_nothing_is_said(given, nodes, cpus, gpus):
    assert given(nodes, cpus=cpus, gpus=gpus) == ((float(cpus), float(gpus)), [])


def test_outside_of_a_job_fewer_cores_than_asked_are_a_mistake(given):
    with pytest.raises(InputError) as raised:
        given([(2, 1), (2, 1), (1, 4)], cpus=4, gpus=0.5)
    assert str(raised.value) == (
        "resources: a trial requests cpus 4 and gpus 0.5, but no node has as many (nodes have 1 CPU and 4 GPUs, "
        "2 CPUs and 1 GPU); request fewer, with --set resources.cpus=N or --set resources.gpus=N"
    )


def test_in_a_job_a_trial_takes_the_cores_that_are_there(given, in_job):
    assert given([(2, 1)], cpus=4, gpus=1) == ((2.0, 1.0), [])


def test_in_a_job_the_largest_node_that_has_the_gpu_tells_how_many_cores(given, in_job):
    (cpus, gpus), said = given([(2, 1), (3, 1), (16, 0)], cpus=8, gpus=1)
    assert (cpus, gpus) == (3.0, 1.0)
    assert len(said) == 1


def test_in_a_job_cores_that_are_enough_are_not_changed(given, in_job):
    assert given([(16, 2)], cpus=4, gpus=1) == ((4.0, 1.0), [])


@pytest.mark.parametrize("nodes", [[(4, 1)], [(4, 1), (8, 1)]])
def test_a_gpu_that_no_node_has_is_a_mistake_in_a_job_too(given, in_job, nodes):
    with pytest.raises(InputError, match=r"requests cpus 2 and gpus 2, but no node has as many"):
        given(nodes, cpus=2, gpus=2)


def test_a_node_without_cores_is_a_mistake_in_a_job_too(given, in_job):
    with pytest.raises(InputError, match=r"nodes have 0 CPUs and 1 GPU"):
        given([(0, 1)], cpus=2, gpus=1)


def test_cores_that_keep_gpus_waiting_are_told_with_the_fix(given):
    (cpus, gpus), said = given([(4, 4)], cpus=2, gpus=1)
    assert (cpus, gpus) == (2.0, 1.0)
    assert said == [
        "CPUS      2 trials can run in parallel, although the GPUs have room for 4: the nodes have 4 CPUs and 4 GPUs, "
        "and "
        "a trial gets 2 of the 2 CPUs it requests; request more CPUs (sbatch --cpus-per-task=N), or use --set "
        "resources.cpus=1"
    ]


def test_in_a_job_too_it_is_told_with_the_cores_that_are_given(given, in_job):
    (cpus, _), (said,) = given([(3, 1)], cpus=8, gpus=0.25)
    assert cpus == 3.0
    assert "1 trial can run in parallel, although the GPUs have room for 4" in said
    assert "a trial gets 3 of the 8 CPUs it requests" in said


@pytest.mark.parametrize(
    ("backend", "nodes", "refused"),
    [("fused", [(8, 1)], True), ("auto", [(8, 1)], False), ("reference", [(8, 1)], False), ("fused", [(8, 0)], False)],
)
def test_a_back_end_that_cannot_be_compiled_on_a_gpu_is_refused_before_any_trial(
    given, monkeypatch, backend, nodes, refused
):
    monkeypatch.setattr(triton_host, "missing_for_launchers", lambda: "/usr/include/Python.h is missing")
    if not refused:
        assert given(nodes, backend=backend)[1] == []
        return
    with pytest.raises(
        InputError, match=r"resources\.backend is 'fused', .*Python\.h is missing; take auto or ref"
    ) as said:
        given(nodes, backend=backend)
    assert "python3-dev" in str(said.value)


@pytest.fixture
def nvidia(tmp_path, monkeypatch):
    """Puts a stand-in for nvidia-smi on the path, which tells a mode for each of two GPUs."""
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "pipes"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def tell(*modes):
        numbers = range(len(modes))
        listed = "".join(f"GPU {n}: T4 (UUID: GPU-{n}-)\n" for n in numbers)
        told = "".join(f"GPU-{n}-, {mode}\n" for n, mode in zip(numbers, modes, strict=True))
        text = f"#!/bin/sh\nif [ $1 = -L ]; then cat <<'E'\n{listed}E\nelse cat <<'E'\n{told}E\nfi\n"
        (tmp_path / "nvidia-smi").write_text(text)
        (tmp_path / "nvidia-smi").chmod(0o755)

    return tell


def test_gpus_that_let_in_one_process_are_given_as_a_whole_and_that_said(given, nvidia):
    nvidia("Default", "Exclusive_Process")
    assert given([(8, 2)], gpus=0.25) == (
        (1.0, 1.0),
        [
            "GPU       in exclusive process mode, which allows one process: each trial gets a whole GPU instead of "
            "0.25; to share GPUs, set resources.mps: true or the default mode (nvidia-smi -c 0)"
        ],
    )
    assert given([(8, 2)], gpus=1) == ((1.0, 1.0), [])
    assert given([(8, 2)], gpus=2) == ((1.0, 2.0), [])


@pytest.mark.parametrize(
    ("modes", "visible"), [(("Default", "Default"), None), (("Default", "Exclusive_Process"), "0"), ((), None)]
)
def test_others_are_shared(given, nvidia, monkeypatch, modes, visible):
    nvidia(*modes)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert given([(8, 2)], gpus=0.25) == ((1.0, 0.25), [])


def test_under_the_multi_process_service_one_process_serves_all(given, nvidia, tmp_path):
    nvidia("Exclusive_Process")
    (tmp_path / "pipes").mkdir()
    (tmp_path / "pipes" / "control").touch()
    assert given([(8, 1)], gpus=0.25) == ((1.0, 0.25), [])
