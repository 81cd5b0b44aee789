"""Findings on cores, memory, limits and the network."""

import os
import resource

import pytest

from ser_ray.doctor import machine
from ser_ray.doctor.machine import check_cores, check_memory, check_network, check_open_files, check_processes

ANY = resource.RLIM_INFINITY


def cores(usable, *, in_machine=16, bound=16, given=None, requested=None, gpus=0):
    return check_cores(usable, in_machine=in_machine, bound=bound, given=given, requested=requested, gpus=gpus)


def test_cores_that_can_be_used():
    assert cores(16).line() == "ok    cores       16 of 16 can be used"
    assert cores(8, bound=8).text == "8 of 16 can be used"
    assert cores(4, bound=8).text == "4 of 16 can be used; the control group limits it"
    assert cores(4, bound=4, given=4, requested=4).text == "4 of 16 can be used (SLURM gave 4, bound to 4)"
    assert cores(4, given=4).level == "ok"  # a site that binds nobody
    assert cores(2, in_machine=2, bound=2, given=4).level == "ok"  # SLURM was told of more than there are
    assert cores(1, given=1).level == "ok"


def test_a_step_with_fewer_cores_than_its_job():
    for found in (cores(1, bound=1, given=8), cores(1, given=1, requested=8)):
        assert (found.level, "fewer than its job" in found.text) == ("warn", True)
        assert "--cpus-per-task" in found.fix


def test_gpus_beside_one_core():
    assert (
        cores(1, given=1, gpus=4).line().startswith("warn  cores       1 of 16 can be used (SLURM gave 1, bound to 16)")
    )
    assert "4 GPUs: trials wait for cores" in cores(1, gpus=4).text
    assert cores(2, gpus=4).level == "ok"


@pytest.mark.parametrize(("memory", "count", "level"), [(8e9, 4, "ok"), (7.9e9, 4, "warn"), (64e9, 64, "warn")])
def test_memory(memory, count, level):
    found = check_memory(memory, count)
    assert found.level == level
    assert level == "ok" or "--mem-per-cpu=2G" in found.fix


@pytest.mark.parametrize(
    ("environment", "least"),
    [
        ({}, 100),
        ({"SLURM_MEM_PER_NODE": "50"}, 50),
        ({"SLURM_MEM_PER_CPU": "10"}, 40),
        ({"SLURM_MEM_PER_NODE": "0"}, 100),  # --mem=0 is all of it
        ({"SLURM_MEM_PER_NODE": "500"}, 100),
    ],
)
def test_the_least_memory_counts(monkeypatch, environment, least):
    monkeypatch.setattr(machine.allocation, "memory_limit_bytes", lambda: 100 * 2**20)
    assert machine._memory(4, environment) == least * 2**20


def test_memory_without_a_limit_is_that_of_the_machine(monkeypatch):
    monkeypatch.setattr(machine.allocation, "memory_limit_bytes", lambda: None)
    assert machine._memory(4, {}) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("soft", "hard", "nodes", "level", "text"),
    [
        (4096, 4096, 2, "ok", "4,096 may be open at once"),
        (ANY, ANY, 2, "ok", "any number may be open at once"),
        (1024, 1048576, 1, "ok", "1,024 may be open at once, which Ray raises to 65,536"),
        (1024, ANY, 1, "ok", "1,024 may be open at once, which Ray raises to 65,536"),
        (1024, 20000, 1, "ok", "1,024 may be open at once, which Ray raises to 20,000"),
        (1024, 1048576, 2, "warn", "1,024 may be open at once: Ray's connections may fail"),
        (1024, 2048, 1, "warn", "1,024 may be open at once, at most 2,048: Ray's connections may fail"),
    ],
)
def test_open_files(soft, hard, nodes, level, text):
    found = check_open_files(soft, hard, nodes=nodes)
    assert (found.level, found.text) == (level, text)
    assert level == "ok" or "ulimit -n 65536 in slurm/site.env" in found.fix


@pytest.mark.parametrize(
    ("soft", "hard", "level", "fix"),
    [
        (ANY, ANY, "ok", ""),
        (4096, 4096, "ok", ""),
        (1000, 8000, "warn", "ulimit -u 8000 in slurm/site.env"),
        (1000, ANY, "warn", "ulimit -u 16384 in slurm/site.env"),
        (1000, 2000, "warn", "have the hard limit raised above 4096"),
    ],
)
def test_processes(soft, hard, level, fix):
    found = check_processes(soft, hard)
    assert found.level == level
    assert found.fix.startswith(fix)


def test_the_name_of_a_node():
    found = check_network("n1", ["10.0.0.7", "127.0.1.1"], None, ["eth0"])
    assert found.level == "ok"
    assert found.text.startswith("n1 is 10.0.0.7, 127.0.1.1 by its name")
    assert check_network("n1", [], None, ["eth0"]).text.startswith("n1 is without an IPv4 address by its name")
    assert check_network("n1", ["127.0.0.1"], None, []).level == "warn"


def test_an_interface_that_the_site_names():
    assert check_network("n1", ["127.0.0.1"], "ib0", ["eth0", "ib0"]).level == "ok"
    found = check_network("n1", ["10.0.0.7"], "ib1", ["eth0", "ib0"])
    assert found.level == "warn"
    assert found.text == "n1 has no interface ib1, to which SER_RAY_INTERFACE is set; it has eth0, ib0"


def test_names_that_nobody_knows_have_no_address():
    assert machine._addresses("no-such-host.invalid") == []
    assert machine._addresses("localhost") == ["127.0.0.1"]


def test_the_network_counts_where_there_are_other_nodes():
    names = [f.name for f in machine.findings(0, {})]
    assert names == ["cores", "memory", "files", "processes"]
    job = {"SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_ON_NODE": "2"}
    assert [f.name for f in machine.findings(0, job)] == [*names, "network"]
