"""Program that slurm/launch.sh runs on each node of a job with several: check the node, then run Ray on it."""

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
from ser_ray.gpus.usable import limit_to_job
from ser_ray.plain_text import counted
from ser_ray.process import handle_signals
from ser_ray.slurm.address import free_port, own_address
from ser_ray.sweep.nodes.mps import shared_gpus
from ser_ray.sweep.nodes.ray_folder import OBJECT_STORE_BYTES, prepare_environment, ray_temp_dir
from ser_ray.sweep.nodes.rendezvous import Rendezvous
from ser_ray.sweep.nodes.stop import hold_signals

POLL_S = 0.5
HEAD_S = 300.0
"""How long the head may take to publish its address: its node is checked first, and its file system may be cold."""
UP_S = 90.0
"""How long Ray's head may take to accept connections."""
CHECK_S = 240.0
"""How long the check of a node may take, with a cold file system."""
TRIES = 3
"""How many times Ray is started on a node where it ends by itself."""
HEAD_CHECK_S, GONE_S = 5.0, 90.0
"""Interval at which another node checks that the head answers; time without an answer after which the head is gone."""
EXIT_FIRST_NODE_GONE = 76


def main(argv: Sequence[str] | None = None) -> int:
    """Run Ray on this node until the rendezvous is over.

    Returns:
        0 when the rendezvous is over, 1 if the node is unfit or Ray ended too often, 76 if the job's first node is
        gone. The batch script is gone with that node, yet SLURM lets the job go on.
    """
    parser = argparse.ArgumentParser(
        "python -m ser_ray.slurm.node", description="Run one node of a job of slurm/launch.sh: check it, then run Ray."
    )
    parser.add_argument("meeting", type=Path, help="folder of the rendezvous of the job's nodes")
    parser.add_argument("--results", type=Path, required=True, metavar="DIR", help="folder of the sweep's results")
    parser.add_argument(
        "--head", action="store_true", help="run the head of the Ray cluster, which the other nodes join"
    )
    parser.add_argument(
        "--peer", action="append", default=[], metavar="HOST", help="host name of another node of the job (repeatable)"
    )
    options = parser.parse_args(argv)
    # All processes of a job get its signals; the sweep alone decides what to do about them.
    hold_signals()
    with handle_signals(lambda number, frame: None):  # for threads of libraries, which do not block them
        return _take_part(options)


def _take_part(options: argparse.Namespace) -> int:
    prepare_environment()
    rendezvous = Rendezvous(options.meeting, 1 + len(options.peer))
    node = _Node(rendezvous, options.results, options.head, options.peer)
    try:
        node.check()
        with shared_gpus(os.environ.get("SER_RAY_MPS") == "1", node.log):
            return node.serve()
    except InputError as error:
        node.log(f"is not used: {error}")
        rendezvous.report_unfit(node.name, " ".join(str(error).split()))
        return 1


class _Node:
    """This node of the job and the Ray processes on it; if it is the head, the other nodes join it."""

    def __init__(self, rendezvous: Rendezvous, results: Path, head: bool, peers: Sequence[str]) -> None:
        self.name = provenance.host_name()
        self._rendezvous, self._results, self._head, self._peers = rendezvous, results, head, peers
        self._gpus: tuple[str, ...] = ()
        self._answered = self._checked = math.inf

    def log(self, text: str) -> None:
        """Print a line to the job's log, which all nodes share."""
        try:
            print(f"{self.name}  {text}", flush=True)
        except OSError:  # output goes through the first node, which may be gone
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the rest of this process

    def check(self) -> None:
        """Run the doctor; raise InputError with the problems if trials cannot run here."""
        record = self._rendezvous.folder / f"doctor-{self.name}.json"
        # in a process of its own: it imports PyTorch and tries the GPUs, and its end frees all that
        command = [sys.executable, "-m", "ser_ray.doctor", "--results", str(self._results), "--record", str(record)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise InputError(
                f"the check of this node did not finish in {CHECK_S:.0f} s (does a file system hang?)"
            ) from error
        # in one piece, since all nodes write to one log; lines on what is ok are shown for the head alone
        lines = [line for line in (done.stdout + done.stderr).splitlines() if self._head or "  ok  " not in line]
        print("\n".join(lines), flush=True)
        try:
            found = json.loads(record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"the check of this node ended with exit code {done.returncode} and wrote no record ({error})"
            ) from error
        if not found["fit"]:
            raise InputError("; ".join(found["problems"]))
        # Where a site does not confine devices, PyTorch sees the GPUs of other jobs as well. Where SLURM names no GPUs,
        # as on sites that allocate whole nodes, all visible GPUs belong to the job.
        self._gpus = limit_to_job(found["gpu_ids"], allocation.gpus_given())
        # one broken GPU must not cost the others: it is hidden from all processes started here
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(self._gpus)

    def serve(self) -> int:
        """Run Ray until the rendezvous is over; return the exit code."""
        for _ in range(TRIES):
            with ray_temp_dir() as folder:
                address = self._address()
                if address is None:
                    return 0
                self._answered = min(self._answered, time.monotonic())
                self._checked = self._answered
                with self._ray(folder, address) as process:
                    if self._head and not self._announce(process, address):
                        if self._rendezvous.closed:
                            return 0
                        self.log(f"Ray did not start at {address} (its log: {self._ray_log})")
                        continue
                    while process.poll() is None:
                        if self._rendezvous.closed:
                            return 0
                        if not self._head and self._first_node_gone(address):
                            self.log("the first node of the job was lost")
                            return EXIT_FIRST_NODE_GONE
                        time.sleep(POLL_S)
                self._keep_logs(folder)
                self.log(
                    f"Ray ended unexpectedly, with exit code {process.returncode} (its logs: {self._ray_log.parent})"
                )
                if self._head:
                    return 1  # the cluster is gone with its head: the job begins again, or ends
        raise InputError(f"Ray ended {TRIES} times (its logs: {self._ray_log.parent})")

    def _first_node_gone(self, address: str) -> bool:
        """Check whether the head has not answered for too long; Ray itself notices late that a host lost its power."""
        now = time.monotonic()
        if now - self._checked >= HEAD_CHECK_S:
            self._checked = now
            if _answers(address):
                self._answered = now
        return now - self._answered > GONE_S

    @property
    def _ray_log(self) -> Path:
        return self._rendezvous.folder / f"ray-{self.name}.log"

    def _address(self) -> str | None:
        """Return the head's present or future address; None if the rendezvous ends before it is known."""
        interface = os.environ.get("SER_RAY_INTERFACE")
        if self._head:
            own = own_address(self._peers, interface)
            return f"{own}:{free_port(own)}"
        deadline = time.monotonic() + HEAD_S
        while time.monotonic() < deadline:
            if self._rendezvous.closed:
                return None
            address = self._rendezvous.address()
            if address is not None:
                return address
            time.sleep(POLL_S)
        raise InputError(f"the head node reported no address within {HEAD_S:.0f} s")

    @contextlib.contextmanager
    def _ray(self, folder: Path, address: str) -> "Iterator[subprocess.Popen[bytes]]":
        """Start Ray's processes on this node; kill them at the end of the context."""
        host, _, port = address.rpartition(":")
        own = host if self._head else own_address([host], os.environ.get("SER_RAY_INTERFACE"))
        role = ["--head", f"--port={port}", "--include-dashboard=false"] if self._head else [f"--address={address}"]
        command = [
            *(sys.executable, "-m", "ser_ray.sweep.nodes.cluster", "--block", "--disable-usage-stats", *role),
            f"--node-ip-address={own}",
            f"--num-cpus={allocation.cpus()}",
            f"--num-gpus={len(self._gpus)}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            f"--temp-dir={folder / 'ray'}",
            # any free ports, since another job on this node would begin with the same ones
            *("--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"),
        ]
        self.log(f"starts Ray at {own}: {counted(allocation.cpus(), 'CPU')}, {counted(len(self._gpus), 'GPU')}")
        with self._ray_log.open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # nothing is left for them to do
            process.wait()

    def _announce(self, process: "subprocess.Popen[bytes]", address: str) -> bool:
        """Publish the address once Ray listens there; return False if Ray does not come up."""
        deadline = time.monotonic() + UP_S
        while process.poll() is None and time.monotonic() < deadline and not self._rendezvous.closed:
            if _answers(address):
                self._rendezvous.publish_address(address)
                return True
            time.sleep(POLL_S)
        return False

    def _keep_logs(self, folder: Path) -> None:
        """Copy the logs of Ray's processes to the rendezvous; the originals on this node's own disk are removed."""
        kept = self._ray_log.parent / f"ray-{self.name}"
        for log in folder.glob("ray/session_2*/logs/*"):
            if log.is_file() and log.stat().st_size and log.suffix in (".out", ".err", ".log"):
                kept.mkdir(exist_ok=True)
                shutil.copyfile(log, kept / log.name)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=POLL_S).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    from ser_ray.process import run

    run(main)
