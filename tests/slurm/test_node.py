"""One node of a job, with stand-ins for the doctor and for Ray: what it runs, prints, ends and leaves behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ser_ray import allocation, provenance
from ser_ray.sweep.nodes.rendezvous import Rendezvous

NAME = provenance.host_name()
HERE = "127.0.0.1"
STAND_IN = '''#!{python} -SE
"""Is run in the place of Python: notes how it was called, and does the next that is planned for such a call."""
import json, os, shutil, signal, socket, subprocess, sys, time
from pathlib import Path

HERE = Path({folder!r})
kind = "doctor" if "ser_ray.doctor" in sys.argv else "ray"
calls = sorted(HERE.glob(kind + ".call.*"))
does = json.loads((HERE / (kind + ".plan")).read_text())
does = does[min(len(calls), len(does) - 1)]
options = dict(word[2:].split("=", 1) for word in sys.argv if word.startswith("--") and "=" in word)
child = subprocess.Popen(["sleep", "600"]) if does.get("child") else None
note = dict(arguments=sys.argv[1:], pid=os.getpid(), group=os.getpgrp(), token=os.environ.get("RAY_AUTH_TOKEN"))
note["visible"] = os.environ.get("CUDA_VISIBLE_DEVICES")
note["child"] = child and child.pid
note["blocked"] = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))
temporary = HERE / "note"
temporary.write_text(json.dumps(note))
temporary.rename(HERE / (kind + ".call.%d" % len(calls)))
print(does.get("says", kind + " speaks"), flush=True)
if "record" in does:
    Path(sys.argv[sys.argv.index("--record") + 1]).write_text(does["record"])
if "logs" in does:
    logs = Path(options["temp-dir"]) / "session_2026-01-01" / "logs"
    (logs / "old").mkdir(parents=True)
    for name, text in does["logs"].items():
        (logs / name).write_text(text)
time.sleep(does.get("after", 0))
if does.get("listens"):
    host, port = options["node-ip-address"], int(options["port"])
    server = socket.create_server((host, port))
if "until" in does:
    while not (HERE / does["until"]).exists():
        time.sleep(0.01)
if "exit" in does:
    sys.exit(does["exit"])
time.sleep(600)
'''
RUN = """
import sys
from ser_ray.slurm import node
sys.executable = {stand_in!r}
vars(node).update({settings!r})
sys.exit(node.main({arguments!r}))
"""
FIT = {"record": json.dumps({"fit": True, "problems": [], "gpus": 0, "gpu_ids": []}), "exit": 0}
STAYS = {"listens": True, "child": True}


class Node:
    """A node that runs as a process of its own, in a group of its own."""

    def __init__(self, folder, temporary):
        self.folder, self.temporary = folder, temporary
        self.meeting = Rendezvous(folder / "meeting", 2)
        self.meeting.folder.mkdir()
        (self.meeting.folder / "go").touch()
        self.stand_in = folder / "python"
        self.stand_in.write_text(STAND_IN.format(python=sys.executable, folder=str(folder)))
        self.stand_in.chmod(0o755)
        self.process = None

    def start(self, *roles, doctor=FIT, ray=(STAYS,), environment=(), **settings):
        (self.folder / "doctor.plan").write_text(json.dumps([doctor]))
        (self.folder / "ray.plan").write_text(json.dumps(list(ray)))
        arguments = [str(self.meeting.folder), "--results", str(self.folder / "the results"), *roles]
        code = RUN.format(stand_in=str(self.stand_in), settings={"POLL_S": 0.02, **settings}, arguments=arguments)
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SER_RAY_", "RAY_"))}
        variables = {"SER_RAY_INTERFACE": "lo", "SER_RAY_TMP": str(self.temporary), "SLURM_JOB_ID": "4711"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=clean | variables | dict(environment),
        )
        return self

    def end(self):
        """Return the exit code and what was printed."""
        out, _ = self.process.communicate(timeout=30)
        assert "Traceback" not in out, out
        return self.process.returncode, out

    def over(self):
        (self.meeting.folder / "go").unlink()
        return self.end()

    def calls(self, kind):
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob(f"{kind}.call.*"))]

    def wait_for(self, what):
        deadline = time.monotonic() + 20
        while not what():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline, "it did not come"
            time.sleep(0.01)
        return what()

    def rays(self, number=1):
        return self.wait_for(lambda: len(self.calls("ray")) >= number and self.calls("ray"))

    @property
    def ray_log(self):
        return (self.meeting.folder / f"ray-{NAME}.log").read_text()

    def nothing_runs(self):
        """Whether none of the processes is there that were started, nor their folders."""
        pids = [call[who] for kind in ("doctor", "ray") for call in self.calls(kind) for who in ("pid", "child")]
        deadline = time.monotonic() + 10
        while any(map(_runs, filter(None, pids))) and time.monotonic() < deadline:
            time.sleep(0.01)
        return not any(map(_runs, filter(None, pids))) and not list(self.temporary.iterdir())


def _runs(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def node(tmp_path):
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        made = Node(tmp_path, Path(temporary))
        yield made
        if made.process is not None and made.process.poll() is None:
            made.process.kill()
            made.process.communicate()
        for call in made.calls("ray"):
            for pid in filter(None, (call["pid"], call["child"])):
                if _runs(pid):
                    os.kill(pid, signal.SIGKILL)


def _options(call):
    return dict(word[2:].split("=", 1) for word in call["arguments"] if word.startswith("--") and "=" in word)


def test_a_node_that_is_not_fit_takes_no_part_and_reports_why(node):
    record = json.dumps({"fit": False, "problems": ["results cannot be written", "no PyTorch"], "gpus": 0})
    code, out = node.start("--peer", HERE, doctor={"record": record, "exit": 1}).end()
    assert code == 1
    assert f"{NAME}  is not used: results cannot be written; no PyTorch" in out
    assert node.meeting.unfit() == {NAME: "results cannot be written; no PyTorch"}
    assert node.calls("ray") == []


@pytest.mark.parametrize("record", [{}, {"record": ""}, {"record": '{"fit": tr'}], ids=["none", "empty", "half"])
def test_a_check_that_leaves_no_record_makes_a_node_unfit(node, record):
    code, out = node.start("--head", doctor={**record, "exit": 139, "says": "Illegal instruction"}).end()
    assert code == 1
    assert "Illegal instruction" in out
    assert "the check of this node ended with exit code 139 and wrote no record (" in node.meeting.unfit()[NAME]


def test_a_check_that_hangs_makes_a_node_unfit(node):
    code, _ = node.start("--head", doctor={}, CHECK_S=0.3).end()
    assert code == 1
    assert node.meeting.unfit() == {NAME: "the check of this node did not finish in 0 s (does a file system hang?)"}
    assert node.nothing_runs()


def test_the_doctor_is_given_the_results_and_its_lines_are_in_the_log(node):
    says = "n1  ok    cpus        4\nn1  warn  clock       3 s off"
    node.start("--head", doctor={**FIT, "says": says})
    node.wait_for(node.meeting.address)
    _, out = node.over()
    (call,) = node.calls("doctor")
    record = node.meeting.folder / f"doctor-{NAME}.json"
    assert call["arguments"] == [
        *("-m", "ser_ray.doctor", "--results", str(node.folder / "the results"), "--record", str(record))
    ]
    assert says in out


def test_what_is_fine_on_the_other_nodes_is_not_logged(node):
    node.meeting.publish_address(f"{HERE}:20001")
    says = "n2  ok    cpus        4\nn2  warn  clock       3 s off"
    node.start("--peer", HERE, doctor={**FIT, "says": says}, ray=[{"child": True}])
    node.rays()
    _, out = node.over()
    assert "n2  warn  clock       3 s off" in out
    assert "n2  ok" not in out


def test_the_head_tells_its_address_once_it_can_be_reached(node):
    node.start("--head", "--peer", HERE, ray=[{"until": "taken", "exit": 1}, STAYS])
    (first,) = node.rays()
    assert node.meeting.address() is None
    (node.folder / "taken").touch()
    first, second = node.rays(2)
    address = node.wait_for(node.meeting.address)
    host, _, port = address.rpartition(":")
    assert (host, port) == (HERE, _options(second)["port"])
    assert _options(first)["port"] != port, "another job may have taken it"
    socket.create_connection((host, int(port)), timeout=5).close()
    code, out = node.over()
    assert code == 0
    assert f"Ray did not start at {HERE}:{_options(first)['port']}" in out
    assert node.nothing_runs()


def test_the_address_is_not_announced_before_anything_listens(node):
    node.start("--head", "--peer", HERE, ray=[{**STAYS, "after": 0.6}])
    (call,) = node.rays()
    port = int(_options(call)["port"])
    node.wait_for(node.meeting.address)
    socket.create_connection((HERE, port), timeout=5).close()
    assert node.over()[0] == 0


def test_a_head_that_never_comes_up_is_given_up_and_its_log_kept(node):
    code, out = node.start("--head", "--peer", HERE, ray=[{"exit": 7, "says": "no room"}]).end()
    assert code == 1
    assert len({_options(call)["port"] for call in node.calls("ray")}) > 1
    assert len(node.calls("ray")) == 3
    assert f"Ray ended 3 times (its logs: {node.meeting.folder})" in node.meeting.unfit()[NAME]
    assert node.ray_log == "no room\n" * 3
    assert node.meeting.address() is None
    assert node.nothing_runs(), out


def test_a_head_that_hangs_is_not_waited_for_without_end(node):
    code, _ = node.start("--head", "--peer", HERE, ray=[{"child": True}], UP_S=0.2).end()
    assert code == 1
    assert "Ray ended 3 times" in node.meeting.unfit()[NAME]
    assert node.nothing_runs()


def test_when_the_head_ends_by_itself_the_node_ends_too(node):
    logs = {"gcs_server.out": "out of memory", "empty.out": "", "dump.bin": "x"}
    node.start("--head", "--peer", HERE, ray=[{**STAYS, "logs": logs, "until": "end", "exit": 5}])
    node.wait_for(node.meeting.address)
    (node.folder / "end").touch()
    code, out = node.end()
    assert code == 1
    assert f"{NAME}  Ray ended unexpectedly, with exit code 5" in out
    kept = node.meeting.folder / f"ray-{NAME}"
    assert {path.name: path.read_text() for path in kept.iterdir()} == {"gcs_server.out": "out of memory"}
    assert len(node.calls("ray")) == 1
    assert node.nothing_runs()
    assert node.meeting.unfit() == {}


def test_others_wait_for_the_address_and_join_there(node):
    node.start("--peer", HERE, ray=[{"child": True}])
    node.wait_for(lambda: node.calls("doctor"))
    time.sleep(0.4)
    assert node.calls("ray") == []
    node.meeting.publish_address(f"{HERE}:20001")
    (call,) = node.rays()
    assert _options(call)["address"] == f"{HERE}:20001"
    assert node.over()[0] == 0
    assert node.nothing_runs()


def test_a_rendezvous_that_is_over_before_the_address_is_announced_exits_0(node):
    node.start("--peer", HERE)
    node.wait_for(lambda: node.calls("doctor"))
    code, _ = node.over()
    assert code == 0
    assert node.calls("ray") == []
    assert node.meeting.unfit() == {}


def test_a_head_that_tells_no_address_is_not_waited_for_without_end(node):
    code, _ = node.start("--peer", HERE, HEAD_S=0.3).end()
    assert code == 1
    assert node.meeting.unfit() == {NAME: "the head node reported no address within 0 s"}


def test_ray_that_ends_by_itself_is_started_again_and_in_the_end_given_up(node):
    node.meeting.publish_address(f"{HERE}:20001")
    plan = [{"exit": code, "child": True, "logs": {"raylet.err": f"killed {code}"}} for code in (3, 4, 5)]
    code, out = node.start("--peer", HERE, ray=plan).end()
    assert code == 1
    assert [f"Ray ended unexpectedly, with exit code {number}" in out for number in (3, 4, 5, 6)] == [
        True,
        True,
        True,
        False,
    ]
    assert len(node.calls("ray")) == 3
    assert "Ray ended 3 times" in node.meeting.unfit()[NAME]
    assert (node.meeting.folder / f"ray-{NAME}" / "raylet.err").read_text() == "killed 5"
    assert node.nothing_runs()


def test_ray_that_ends_once_is_back_and_the_node_fit(node):
    node.meeting.publish_address(f"{HERE}:20001")
    node.start("--peer", HERE, ray=[{"exit": 1}, {"child": True}])
    first, second = node.rays(2)
    assert _options(first)["temp-dir"] != _options(second)["temp-dir"]
    assert node.over()[0] == 0
    assert node.meeting.unfit() == {}
    assert node.nothing_runs()


def test_the_command_that_starts_ray(node):
    record = json.dumps({"fit": True, "problems": [], "gpus": 4, "gpu_ids": ["0", "1", "2", "3"]})
    given = {"SLURM_GPUS_ON_NODE": "2", "SLURM_CPUS_ON_NODE": "1", "RAY_AUTH_TOKEN": "ours"}
    node.start("--head", "--peer", HERE, doctor={"record": record, "exit": 0}, environment=given)
    _, _, port = node.wait_for(node.meeting.address).rpartition(":")
    (call,) = node.rays()
    options = _options(call)
    folder = Path(options.pop("temp-dir"))
    assert (folder.parent.parent, folder.name) == (node.temporary, "ray")
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert call["arguments"][:5] == ["-m", "ser_ray.sweep.nodes.cluster", "--block", "--disable-usage-stats", "--head"]
    assert options == {
        "port": port,
        "include-dashboard": "false",
        "node-ip-address": HERE,
        "num-cpus": "1",
        "num-gpus": "2",
        "object-store-memory": str(200 * 2**20),
        "min-worker-port": "0",
        "max-worker-port": "0",
        "dashboard-agent-listen-port": "0",
    }
    assert call["token"] == "ours"
    assert call["group"] == call["pid"]
    _, out = node.over()
    assert f"{NAME}  starts Ray at {HERE}: 1 CPU, 2 GPUs" in out


@pytest.mark.parametrize(
    ("found", "given", "told"),
    [(4, "2", 2), (1, "2", 1), (0, "2", 0), (4, None, 4), (2, "2", 2)],
)
def test_the_gpus_are_those_that_work_and_as_many_as_slurm_gave(node, found, given, told):
    record = json.dumps({"fit": True, "problems": [], "gpus": found, "gpu_ids": list(map(str, range(found)))})
    environment = {} if given is None else {"SLURM_GPUS_ON_NODE": given}
    node.meeting.publish_address(f"{HERE}:20001")
    node.start("--peer", HERE, doctor={"record": record, "exit": 0}, ray=[{}], environment=environment)
    (call,) = node.rays()
    assert _options(call)["num-gpus"] == str(told)
    assert _options(call)["num-cpus"] == str(allocation.cpus({}))
    assert "--head" not in call["arguments"]
    assert "port" not in _options(call)
    assert node.over()[0] == 0


def test_of_several_gpus_the_one_that_does_not_work_is_hidden(node):
    record = json.dumps({"fit": True, "problems": [], "gpus": 3, "gpu_ids": ["0", "2", "3"]})
    node.meeting.publish_address(f"{HERE}:20001")
    node.start("--peer", HERE, doctor={"record": record, "exit": 0}, ray=[{}], environment={"SLURM_GPUS_ON_NODE": "4"})
    (call,) = node.rays()
    assert (_options(call)["num-gpus"], call["visible"]) == ("3", "0,2,3")
    assert node.over()[0] == 0


def test_where_the_site_wants_mps_it_is_tried_and_the_node_stays_without(node):
    node.start("--head", "--peer", HERE, environment={"SER_RAY_MPS": "1", "PATH": "/usr/bin:/bin"})
    node.wait_for(node.meeting.address)
    code, out = node.over()
    assert code == 0
    assert f"{NAME}  resources.mps: CUDA MPS " in out


def test_signals_to_the_whole_job_end_nothing_while_the_meeting_is_on(node):
    node.start("--head", "--peer", HERE)
    node.wait_for(node.meeting.address)
    (call,) = node.rays()
    held = {signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP}
    assert held <= set(call["blocked"])
    for number in held:
        os.killpg(node.process.pid, number)
        os.killpg(call["group"], number)
    time.sleep(0.3)
    assert node.process.poll() is None
    assert _runs(call["pid"])
    assert _runs(call["child"])
    assert node.over()[0] == 0
    assert node.nothing_runs()


def test_a_rendezvous_that_is_over_while_the_head_starts_exits_0(node):
    node.start("--head", "--peer", HERE, ray=[{"child": True}], UP_S=60)
    node.rays()
    code, _ = node.over()
    assert code == 0
    assert node.nothing_runs()


def test_a_head_that_answers_no_more_is_gone_though_ray_has_not_noticed(node):
    with socket.create_server((HERE, 0)) as head:
        node.meeting.publish_address(f"{HERE}:{head.getsockname()[1]}")
        node.start("--peer", HERE, ray=[{"child": True}], HEAD_CHECK_S=0.05, GONE_S=0.5)
        node.rays()
        time.sleep(1)
        assert node.process.poll() is None
    code, out = node.end()
    assert code == 76
    assert f"{NAME}  the first node of the job was lost" in out
    assert node.nothing_runs()
