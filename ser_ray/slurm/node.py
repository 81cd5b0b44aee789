"""What slurm/launch.sh runs on each node of a job with several: it looks at the node, and runs Ray there."""

import argparse
import contextlib
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ser_ray import allocation, provenance
from ser_ray.errors import InputError
from ser_ray.gpus.usable import of_the_job
from ser_ray.signals import taken_by
from ser_ray.slurm.address import free_port, own_address
from ser_ray.sweep.ending import hold_signals
from ser_ray.sweep.environment import prepare_environment
from ser_ray.sweep.meeting import Meeting
from ser_ray.sweep.mps import shared_gpus
from ser_ray.sweep.own_folder import own_folder

LOOK_S = 0.5
HEAD_S = 300.0
"""How long the head may take to tell its address: its own node is looked at first, and its file system may be cold."""
UP_S = 90.0
"""How long Ray's head may take until it accepts connections."""
CHECK_S = 240.0
"""How long the look at a node may take, with a cold file system."""
TRIES = 3
"""How often Ray is started on a node where it ends by itself."""
BEAT_S, GONE_S = 5.0, 90.0
"""How often another node looks whether the first one answers, and after how long it is gone if it does not."""
EXIT_FIRST_NODE_GONE = 76
OBJECT_STORE_BYTES = 200 * 2**20
"""As on a laptop: what travels between our processes are keys and configurations."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run Ray on this node until the meeting is over.

    Args:
        argv: its arguments; None takes those of this process.

    Returns:
        0 when the meeting was over, 1 if the node is unfit or Ray ended too often, 76 if the job's first node is gone:
        with it went the batch script, and SLURM lets the job go on without.
    """
    parser = argparse.ArgumentParser("python -m ser_ray.slurm.node", description="One node of a job of launch.sh.")
    parser.add_argument("meeting", type=Path, help="folder in which the nodes of the job meet")
    parser.add_argument("--results", type=Path, required=True, metavar="DIR", help="the sweep's folder")
    parser.add_argument("--head", action="store_true", help="the others join this node")
    parser.add_argument("--peer", action="append", default=[], metavar="HOST", help="another node (repeatable)")
    options = parser.parse_args(argv)
    # All processes of a job get its signals; what is to be done about them is the sweep's to say.
    hold_signals()
    with taken_by(lambda number, frame: None):  # in threads of libraries, which do not hold them
        return _take_part(options)


def _take_part(options: argparse.Namespace) -> int:
    prepare_environment()
    meeting = Meeting(options.meeting, 1 + len(options.peer))
    node = _Node(meeting, options.results, options.head, options.peer)
    try:
        node.check()
        with shared_gpus(os.environ.get("SER_RAY_MPS") == "1", node.say):
            return node.serve()
    except InputError as error:
        node.say(f"takes no part: {error}")
        meeting.refuse(node.name, " ".join(str(error).split()))
        return 1


class _Node:
    """This node, and Ray on it.

    Args:
        meeting: where it meets the others.
        results: the sweep's folder.
        head: whether the others join this node.
        peers: the other nodes.
    """

    def __init__(self, meeting: Meeting, results: Path, head: bool, peers: Sequence[str]) -> None:
        self.name = provenance.host_name()
        self._meeting, self._results, self._head, self._peers = meeting, results, head, peers
        self._gpus: tuple[str, ...] = ()
        self._heard = self._looked = math.inf

    def say(self, text: str) -> None:
        """Tell a line, in the job's log, where the lines of all nodes meet."""
        try:
            print(f"{self.name}  {text}", flush=True)
        except OSError:  # the lines go by the first node, which may be gone
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the rest of this process

    def check(self) -> None:
        """Look whether trials can run here.

        Raises:
            InputError: if not, with what is wrong.
        """
        record = self._meeting.folder / f"doctor-{self.name}.json"
        # a process of its own: it imports PyTorch and looks at GPUs, and gives all that back
        command = [sys.executable, "-m", "ser_ray.doctor", "--results", str(self._results), "--record", str(record)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise InputError(f"the look at this node did not end in {CHECK_S:.0f} s (a file system hangs?)") from error
        # in one piece, since all nodes write to one log; what is well on the others need not be read
        lines = [line for line in (done.stdout + done.stderr).splitlines() if self._head or "  ok  " not in line]
        print("\n".join(lines), flush=True)
        try:
            found = json.loads(record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"the look at this node ended with {done.returncode} and without a word ({error})"
            ) from error
        if not found["fit"]:
            raise InputError("; ".join(found["problems"]))
        # Where a site does not confine devices, PyTorch sees those of other jobs as well; where SLURM says nothing of
        # GPUs, as on sites that hand out whole nodes, what is seen is the job's.
        self._gpus = of_the_job(found["gpu_ids"], allocation.gpus_given())
        # of several GPUs one that does not work costs no other: it is hidden from all that is started here
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(self._gpus)

    def serve(self) -> int:
        """Run Ray until the meeting is over; return the exit code."""
        for _ in range(TRIES):
            with own_folder() as folder:
                address = self._address()
                if address is None:
                    return 0
                self._heard = min(self._heard, time.monotonic())
                self._looked = self._heard
                with self._ray(folder, address) as process:
                    if self._head and not self._announce(process, address):
                        if self._meeting.over:
                            return 0
                        self.say(f"Ray did not come up at {address} (its log: {self._log})")
                        continue
                    while process.poll() is None:
                        if self._meeting.over:
                            return 0
                        if not self._head and self._first_node_gone(address):
                            self.say("the first node of the job is gone")
                            return EXIT_FIRST_NODE_GONE
                        time.sleep(LOOK_S)
                self._keep_logs(folder)
                self.say(f"Ray ended by itself, with {process.returncode} (its logs: {self._log.parent})")
                if self._head:
                    return 1  # with it the cluster is gone: the job begins again, or ends
        raise InputError(f"Ray did not stay up in {TRIES} tries (its logs: {self._log.parent})")

    def _first_node_gone(self, address: str) -> bool:
        """Return whether the head has not answered for too long, though nobody has ended the meeting.

        Ray itself notices late, since a node without power refuses nothing.
        """
        now = time.monotonic()
        if now - self._looked >= BEAT_S:
            self._looked = now
            if _answers(address):
                self._heard = now
        return now - self._heard > GONE_S

    @property
    def _log(self) -> Path:
        return self._meeting.folder / f"ray-{self.name}.log"

    def _address(self) -> str | None:
        """Return where the head listens, or is to listen; None if the meeting is over before that is known."""
        interface = os.environ.get("SER_RAY_INTERFACE")
        if self._head:
            own = own_address(self._peers, interface)
            return f"{own}:{free_port(own)}"
        deadline = time.monotonic() + HEAD_S
        while time.monotonic() < deadline:
            if self._meeting.over:
                return None
            address = self._meeting.address()
            if address is not None:
                return address
            time.sleep(LOOK_S)
        raise InputError(f"the head told no address within {HEAD_S:.0f} s")

    @contextlib.contextmanager
    def _ray(self, folder: Path, address: str) -> "Iterator[subprocess.Popen[bytes]]":
        """Start Ray's processes of this node, and end them with the context."""
        host, _, port = address.rpartition(":")
        own = host if self._head else own_address([host], os.environ.get("SER_RAY_INTERFACE"))
        place = ["--head", f"--port={port}", "--include-dashboard=false"] if self._head else [f"--address={address}"]
        command = [
            *(sys.executable, "-m", "ser_ray.sweep.cluster", "--block", "--disable-usage-stats", *place),
            f"--node-ip-address={own}",
            f"--num-cpus={allocation.cpus()}",
            f"--num-gpus={len(self._gpus)}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            f"--temp-dir={folder / 'ray'}",
            # any that are free, since another job on this node would begin with the same
            *("--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"),
        ]
        self.say(f"starts Ray at {own}: {allocation.cpus()} CPUs, {len(self._gpus)} GPUs")
        with self._log.open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # nothing is left for them to do
            process.wait()

    def _announce(self, process: "subprocess.Popen[bytes]", address: str) -> bool:
        """Tell the others the address once Ray listens there; return False if it does not come to that."""
        deadline = time.monotonic() + UP_S
        while process.poll() is None and time.monotonic() < deadline and not self._meeting.over:
            if _answers(address):
                self._meeting.announce(address)
                return True
            time.sleep(LOOK_S)
        return False

    def _keep_logs(self, folder: Path) -> None:
        """Keep what Ray's processes said, which else goes with this node's own disk."""
        kept = self._log.parent / f"ray-{self.name}"
        for log in folder.glob("ray/session_2*/logs/*"):
            if log.is_file() and log.stat().st_size and log.suffix in (".out", ".err", ".log"):
                kept.mkdir(exist_ok=True)
                shutil.copyfile(log, kept / log.name)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=LOOK_S).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    from ser_ray.cli import run

    run(main)
