"""What a process may use, read from control groups as systems lay them out, and from what SLURM says."""

import os
from pathlib import Path

import pytest

from ser_ray import allocation


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Makes control groups; returns the file that says in which of them a process is."""

    def make(own, **files):
        root = tmp_path / "cgroup"
        monkeypatch.setattr(allocation, "CGROUPS", root)
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")
        (tmp_path / "own").write_text(own)
        return tmp_path / "own"

    return make


V2 = "0::/slurm/job_7/step_0\n"
V1 = "5:memory:/slurm/job_7\n4:cpu,cpuacct:/slurm/job_7\n1:name=systemd:/a:b\n"
HYBRID = "4:cpu,cpuacct:/slurm/job_7\n3:memory:/slurm/job_7\n0::/slurm/job_7\n"
NO_LIMIT = str(2**63 - 4096)
"""As version 1 writes it."""


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        (V2, {"slurm/job_7/step_0/cpu.max": "400000 100000"}, 4),
        (V2, {"slurm/job_7/step_0/cpu.max": "max 100000", "slurm/cpu.max": "300000 100000"}, 3),
        (V2, {"slurm/job_7/step_0/cpu.max": "800000 100000", "slurm/job_7/cpu.max": "500000 100000"}, 5),
        (V2, {"slurm/job_7/cpu.max": "350000 50000", "slurm/cpu.max": "900000 100000"}, 7),
        (V2, {"cpu.max": "200000 100000"}, 2),  # a container sees its own group as the root
        (V2, {"slurm/job_7/cpu.max": "250000 100000"}, 2),
        (V2, {"slurm/job_7/cpu.max": "50000 100000"}, 1),
        (V2, {"slurm/job_7/cpu.max": "max 100000"}, 16),
        (V2, {"slurm/job_7/cpu.max": "3200000 100000"}, 16),
        (V2, {"slurm/job_8/cpu.max": "100000 100000"}, 16),
        (V1, {"cpu,cpuacct/slurm/job_7/cpu.cfs_quota_us": "-1"}, 16),
        (
            V1,
            {
                "cpu,cpuacct/slurm/job_7/cpu.cfs_quota_us": "600000",
                "cpu,cpuacct/slurm/job_7/cpu.cfs_period_us": "100000",
            },
            6,
        ),
        (
            HYBRID,
            {
                "cpu,cpuacct/slurm/cpu.cfs_quota_us": "300000",
                "cpu,cpuacct/slurm/cpu.cfs_period_us": "100000",
                "unified/slurm/job_7/cpu.max": "500000 100000",
            },
            3,
        ),
        (
            HYBRID,
            {
                "cpu,cpuacct/slurm/cpu.cfs_quota_us": "900000",
                "cpu,cpuacct/slurm/cpu.cfs_period_us": "100000",
                "unified/slurm/job_7/cpu.max": "500000 100000",
            },
            5,
        ),
        ("", {}, 16),
    ],
)
def test_the_least_quota_of_the_groups_that_a_process_is_in_counts(system, own, files, expected):
    assert allocation.cpus({}, system(own, **files)) == expected


def test_without_control_groups_affinity_tells(tmp_path):
    assert allocation.cpus({}, tmp_path / "none") == 16


@pytest.mark.parametrize(("given", "expected"), [("3", 3), ("64", 16), ("", 16), ("0", 1), ("4(x2)", 16)], ids=repr)
def test_what_slurm_gave_counts_where_it_binds_nobody(tmp_path, given, expected):
    assert allocation.cpus({"SLURM_CPUS_ON_NODE": given}, tmp_path / "none") == expected


def test_the_least_of_all_three_counts(system, monkeypatch):
    own = system(V2, **{"slurm/job_7/cpu.max": "400000 100000"})
    assert allocation.cpus({"SLURM_CPUS_ON_NODE": "5"}, own) == 4
    assert allocation.cpus({"SLURM_CPUS_ON_NODE": "3"}, own) == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7, 11})
    assert allocation.cpus({"SLURM_CPUS_ON_NODE": "3"}, own) == 2


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"SLURM_GPUS_ON_NODE": "4"}, 4),
        ({"SLURM_GPUS_ON_NODE": "0"}, 0),
        ({"SLURM_JOB_GPUS": "0,3"}, 2),
        ({"SLURM_GPUS_ON_NODE": "1", "SLURM_JOB_GPUS": "0,3"}, 1),
        ({"SLURM_GPUS_ON_NODE": "", "SLURM_JOB_GPUS": ""}, None),
    ],
)
def test_gpus_are_those_that_slurm_names(variables, expected):
    assert allocation.gpus_given(variables) == expected


@pytest.mark.parametrize(
    ("variables", "expected"), [({}, 1), ({"SLURM_JOB_NUM_NODES": "4"}, 4), ({"SLURM_JOB_NUM_NODES": ""}, 1)]
)
def test_a_process_outside_of_a_job_has_one_node(variables, expected):
    assert allocation.nodes(variables) == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({"TMPDIR": "/long"}, "/tmp"), ({"SER_RAY_TMP": "/local"}, "/local"), ({"SER_RAY_TMP": ""}, "/tmp")],
)
def test_short_lived_files_go_where_the_site_sets_it(variables, expected):
    assert allocation.temporary(variables) == Path(expected)


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        (V2, {"slurm/job_7/step_0/memory.max": "max", "slurm/job_7/memory.max": "3000"}, 3000),
        (V2, {"slurm/job_7/memory.max": "3000", "slurm/memory.max": "2000"}, 2000),
        (V2, {"slurm/job_7/memory.max": "max"}, None),
        (V1, {"memory/slurm/job_7/memory.limit_in_bytes": "5000"}, 5000),
        (V1, {"memory/slurm/job_7/memory.limit_in_bytes": NO_LIMIT}, None),
        (
            HYBRID,
            {
                "memory/slurm/job_7/memory.limit_in_bytes": NO_LIMIT,
                "memory/memory.limit_in_bytes": "7000",
                "unified/slurm/job_7/memory.max": "max",
            },
            7000,
        ),
        ("", {}, None),
    ],
)
def test_the_least_memory_limit_counts_and_none_is_none(system, own, files, expected):
    assert allocation.memory_limit_bytes(system(own, **files)) == expected


def test_a_controller_is_found_by_its_own_name_too(system):
    own = system(
        "4:cpuacct,cpu:/slurm/job_7\n",
        **{
            "cpu/slurm/job_7/cpu.cfs_quota_us": "300000",
            "cpu/slurm/job_7/cpu.cfs_period_us": "100000",
        },
    )
    assert allocation.cpus({}, own) == 3


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        (None, None),
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("0", ("0",)),
        ("3, 1", ("3", "1")),
        ("0,-1,2", ("0",)),  # CUDA reads no further
        ("GPU-8f2b,MIG-11aa", ("GPU-8f2b", "MIG-11aa")),
    ],
)
def test_the_gpus_that_are_named(listed, names):
    assert allocation.gpus_named({} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}) == names


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("dev/nvidia0", True),
        ("dev/nvidia12", True),
        ("dev/kfd", True),
        ("usr/lib/wsl/lib/libcuda.so.1", True),
        ("dev/nvidiactl", False),
        ("dev/null", False),
    ],
)
def test_devices_that_may_be_gpus(tmp_path, path, there):
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).touch()
    assert allocation.has_gpu_devices(tmp_path) is there
