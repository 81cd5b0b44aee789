"""What a sweep meets beside signals: a full disk, too little memory, a trial that hangs, strangers, a dead node."""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from sweep_processes import descendants, end, end_what_is_left, run_until, start

from ser_ray.results import SweepFolder, read_table

SWEEP = """
name: tiny
corpus: {corpus}
trial:
  model: {{channels: [3, 4], hidden: 5, kernels: [4, 6], pools: [8, 8]}}
  training: {{epochs: {epochs}, sequence_s: 0.08, batch_size: 3, learning_rate: 1e-3}}
explore:
{explore}
"""


def write(folder, corpus, explore, epochs=3):
    file = folder / "tiny.yaml"
    file.write_text(SWEEP.format(corpus=corpus.path, epochs=epochs, explore=explore))
    return file


def trials(results):
    return read_table(SweepFolder(results / "tiny"), "trials").to_pylist()


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    end_what_is_left()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of six megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(file):
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as full:
        while True:
            full.write(b"x" * 512)


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_the_sweep_which_goes_on_when_there_is_room(tiny_corpus, tmp_path, small_disk):
    file = write(tmp_path, tiny_corpus, "  - training.seed: [0, 1]", epochs=500)
    process = start(file, small_disk)
    run_until(process, "epoch  ")
    ballast = small_disk / "ballast"
    fill(ballast)
    code, out = end(process)
    assert code == 75, out
    assert "results cannot be written: No space left on device" in out
    assert "free disk space or get write permission, and run the same command again" in out
    assert "Traceback" not in out
    assert trials(small_disk) == []
    folder = SweepFolder(small_disk / "tiny")
    assert not list(folder.path.glob("checkpoints/*/.*"))
    begun = {path.name for path in (folder.path / "checkpoints").iterdir()}
    ballast.unlink()
    code, out = end(start(file, small_disk, "--set", "training.epochs=500"))
    assert code == 0, out
    assert {row["key"] for row in trials(small_disk)} >= begun
    for row in trials(small_disk):
        assert row["restarts"] >= 1 or row["key"] not in begun
        assert read_table(folder, "epochs", keys=[row["key"]])["epoch"].to_pylist() == list(range(1, 501))


@pytest.mark.slow
def test_results_that_turn_immutable_end_the_sweep(tiny_corpus, tmp_path, small_disk):
    file = write(tmp_path, tiny_corpus, "  - training.seed: [0]", epochs=500)
    process = start(file, small_disk)
    run_until(process, "epoch  ")
    frozen = subprocess.run(["chattr", "-R", "+i", str(small_disk)], capture_output=True, check=False)
    if frozen.returncode:
        end(process)
        pytest.skip("nothing can be made immutable here")
    code, out = end(process)
    subprocess.run(["chattr", "-R", "-i", str(small_disk)], check=True)
    assert code == 75, out
    assert "results cannot be written" in out
    assert "Traceback" not in out


@pytest.fixture
def breaking_disk(tmp_path):
    """A file system that turns read-only when it is told of an error: as one whose disk or server is in trouble."""
    image, place = tmp_path / "image", tmp_path / "ext4"
    image.write_bytes(b"")
    os.truncate(image, 64 * 2**20)
    place.mkdir()
    for command in (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(place)]):
        if shutil.which(command[0]) is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no file system can be made and mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
def test_results_that_turn_read_only_end_the_sweep(tiny_corpus, tmp_path, breaking_disk):
    file = write(tmp_path, tiny_corpus, "  - training.seed: [0]", epochs=500)
    process = start(file, breaking_disk, "--tensorboard")
    run_until(process, "epoch  ")
    subprocess.run(["mount", "-o", "remount,abort", str(breaking_disk)], check=True)
    code, out = end(process)
    assert code == 75, out
    assert re.search(
        r"ending    results cannot be written: free disk space or get write permission.*Read-only file system", out
    )
    assert "Traceback" not in out


ON_A_LARGER_MACHINE = """
import sys
from ser_ray import allocation, cli
allocation.machine_memory_bytes = lambda: 10**18
cli.start(["sweep", *sys.argv[1:]])
"""


@pytest.mark.slow
def test_a_trial_without_enough_memory_fails_alone_and_says_what_to_change(tiny_corpus, tmp_path):
    """A plan looks at the memory of the driver's machine; that of a worker may be smaller."""
    file = write(tmp_path, tiny_corpus, "  - model.hidden: [5, 3000000]")
    code, out = end(start(file, tmp_path, command=("-c", ON_A_LARGER_MACHINE)))
    assert code == 1, out
    finished, failed = sorted(trials(tmp_path), key=lambda row: row["hidden"])
    assert (finished["status"], failed["status"]) == ("finished", "failed")
    assert "out of memory on this host's CPU, with batches of 3 x 0.08 s and " in failed["error"]
    assert "try a smaller training.batch_size or training.sequence_s" in failed["error"]
    assert failed["error"] in out


@pytest.mark.slow
def test_a_trial_that_hangs_is_started_again_and_goes_on(tiny_corpus, tmp_path):
    file = write(tmp_path, tiny_corpus, "  - training.seed: [0]", epochs=400)
    # a worker's start is silent, too, and takes half of this on a busy machine
    process = start(file, tmp_path, "--set", "schedule.silence_minutes=1")
    run_until(process, "epoch  ")
    (log,) = (tmp_path / "tiny" / "logs").glob("*.log")
    worker = int(re.search(r"process (\d+)", log.read_text())[1])
    os.kill(worker, signal.SIGSTOP)
    code, out = end(process)
    assert code == 0, out
    assert re.search("HUNG      .* reported no progress: its process is killed and restarted", out)
    (row,) = trials(tmp_path)
    assert (row["status"], row["restarts"], row["epochs"]) == ("finished", 1, 400)


INTRUDER = """
import sys, ray
try:
    ray.init(address=sys.argv[1], logging_level="CRITICAL")
except BaseException as error:
    print("refused", type(error).__name__)
else:
    print("joined", len(ray.nodes()))
"""


@pytest.mark.slow
def test_nobody_joins_the_cluster_of_a_sweep_or_reads_its_folder(tiny_corpus, tmp_path):
    file = write(tmp_path, tiny_corpus, "  - training.seed: [0]", epochs=3000)
    process = start(file, tmp_path)
    run_until(process, "epoch  ")
    (raylet,) = descendants(process.pid, "raylet/raylet").values()
    own, address = re.search(r"/tmp/ser_ray_\w+", raylet)[0], re.search(r"--gcs-address=(\S+)", raylet)[1]
    assert os.stat(own).st_mode & 0o077 == 0
    stranger = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    stranger["HOME"] = str(tmp_path)
    tokens = ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    for token in tokens:
        intruder = subprocess.Popen(
            [sys.executable, "-c", INTRUDER, address], env=stranger | token, stdout=subprocess.PIPE, text=True
        )
        with contextlib.suppress(subprocess.TimeoutExpired):  # Ray goes on asking, and is not let in
            intruder.wait(timeout=20)
        intruder.kill()
        assert "joined" not in intruder.communicate()[0]
    process.send_signal(signal.SIGTERM)
    assert end(process)[0] == 75
    assert not os.path.exists(own)


BOTH_THERE = """
import sys, time, ray
ray.init(address=sys.argv[1], logging_level="CRITICAL", log_to_driver=False)
while sum(node["Alive"] for node in ray.nodes()) < 2:
    time.sleep(0.2)
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


@pytest.fixture
def two_nodes(tmp_path_factory):
    """A cluster of two nodes on this machine: what it takes to connect, and the process of the second."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    address = f"{socket.gethostbyname(socket.gethostname())}:{free_port()}"
    places = [f"/tmp/sr_test_{secrets.token_hex(3)}" for _ in range(2)]
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", "--disable-usage-stats"]
    common = {"env": os.environ | token, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    host, port = address.split(":")
    head = ["--head", f"--node-ip-address={host}", f"--port={port}", "--include-dashboard=false"]
    memory = "--object-store-memory=80000000"
    nodes = [subprocess.Popen([*ray, *head, memory, f"--temp-dir={places[0]}"], **common)]
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                break
        time.sleep(0.2)
    nodes.append(subprocess.Popen([*ray, f"--address={address}", memory, f"--temp-dir={places[1]}"], **common))
    waiting = subprocess.run(
        [sys.executable, "-c", BOTH_THERE, address], env=os.environ | token, timeout=240, check=False
    )
    assert waiting.returncode == 0, "the second node did not come up"
    yield token | {"RAY_ADDRESS": address}, nodes
    for node in nodes:
        node.terminate()
    for node in nodes:
        node.wait(timeout=60)
    for place in places:
        shutil.rmtree(place, ignore_errors=True)


@pytest.mark.slow
def test_a_lost_control_service_ends_the_run_within_seconds(tiny_corpus, tmp_path):
    file = write(tmp_path, tiny_corpus, "  - training.seed: [0]", epochs=20000)
    process = start(file, tmp_path)
    run_until(process, "epoch  ")
    (server,) = descendants(process.pid, "gcs_server")
    os.kill(server, signal.SIGKILL)
    began = time.monotonic()
    code, out = end(process, seconds=120)
    assert code == 75, out
    assert time.monotonic() - began < 50  # before Ray gives up by itself
    assert "ending    Ray was lost: a process of its cluster was killed" in out
    assert "run the same command again" in out
    assert "Traceback" not in out
    folder = SweepFolder(tmp_path / "tiny")
    assert not folder.tmp.exists()
    (driver,) = (json.loads(path.read_text()) for path in (folder.path / "drivers").glob("*.json"))
    assert driver["ended"] is not None


@pytest.mark.slow
def test_trials_of_a_node_that_dies_go_on_elsewhere(tiny_corpus, tmp_path, two_nodes):
    environment, (_, second) = two_nodes
    file = write(tmp_path, tiny_corpus, "  - training.seed: [0, 1]", epochs=700)
    process = start(file, tmp_path, "--set", "resources.search_actors=1", **environment)
    assert "2 nodes" in run_until(process, "Ray has")
    run_until(process, "start  .*seed 1")
    run_until(process, "epoch  ")
    (raylet,) = descendants(second.pid, "raylet/raylet")
    os.kill(raylet, signal.SIGKILL)
    code, out = end(process)
    assert code == 0, out
    found = trials(tmp_path)
    assert [row["status"] for row in found] == ["finished", "finished"]
    assert sorted(row["restarts"] for row in found) == [0, 1]
    assert {row["epochs"] for row in found} == {700}


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_any_more_ends_the_run(tiny_corpus, tmp_path, two_nodes):
    """Its head's host is there and accepts connections; Ray itself would end the driver after a minute, with 1."""
    environment, (head, _) = two_nodes
    file = write(tmp_path, tiny_corpus, "  - training.seed: [0]", epochs=20000)
    process = start(file, tmp_path, "--set", "resources.search_actors=1", **environment)
    run_until(process, "epoch  ")
    (server,) = descendants(head.pid, "gcs_server")
    os.kill(server, signal.SIGSTOP)
    try:
        code, out = end(process, seconds=150)
    finally:
        os.kill(server, signal.SIGCONT)
    assert code == 75, out
    assert "ending    Ray was lost" in out
    assert "or does not respond: immediately" in out
    assert "Traceback" not in out
