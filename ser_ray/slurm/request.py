"""A request for SLURM resources: read from the command line, checked, and written as options of sbatch."""

import argparse
import math
import re
from dataclasses import dataclass

from ser_ray.errors import InputError
from ser_ray.sweep.nodes.trial_resources import GpuShares, slots, taken
from ser_ray.sweep.spec.config import Resources

MOST_CPUS = 16
"""Maximum number of cores requested by default on a node without GPUs: most have as many; smaller jobs wait less."""
LEAST_S = 300
"""Shortest limit: slurm/launch.sh is signalled three to four minutes before it; SLURM checks it once a minute."""
TIME_FORMS = "minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS"

_SHORT = {"t": "time", "N": "nodes", "c": "cpus-per-task", "a": "array", "p": "partition", "A": "account", "G": "gpus"}
_OWN = {name: name for name in ("time", "nodes", "cpus-per-task", "array", "partition", "account", "mem")}
_OWN |= dict.fromkeys(("gpus-per-node", "gpus", "gpus-per-task"), "gpus-per-node")
"""sbatch option -> this command's option for it, so that the estimate accounts for it and it is given only once."""
_GRES = re.compile(r"--gres=gpu(?::[^:,=]+)?:([0-9]+)")
"""Form of a GPU request where SLURM does not know --gpus-per-node."""
_CLOCK = re.compile(r"(\d+)(?::(\d+))?(?::(\d+))?")
_DAYS = re.compile(r"(\d+)-(\d+)(?::(\d+))?(?::(\d+))?")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request to SLURM; None leaves SLURM's own default."""

    time: str | None = None  # the limit, in one of TIME_FORMS
    nodes: int = 1  # of the job; with `jobs`, of each job
    gpus_per_node: str | None = None  # such as "4" or "a100:4"
    cpus_per_task: int | None = None  # cores on each node
    mem: str | None = None  # memory on each node, such as "32G"
    partition: str | None = None
    account: str | None = None
    jobs: int | None = None  # number of jobs of an array, which share the sweep; None for a single job
    more: tuple[str, ...] = ()  # further options of sbatch, as given

    @property
    def gpus(self) -> int:
        """GPUs on each node."""
        if self.gpus_per_node:
            return int(self.gpus_per_node.rpartition(":")[2])
        return sum(int(found[1]) for option in self.more if (found := _GRES.fullmatch(option)))

    @property
    def options(self) -> list[str]:
        """The options of sbatch, each with its value in one word."""
        values = {
            "time": self.time,
            "nodes": self.nodes if self.nodes > 1 else None,
            "gpus-per-node": self.gpus_per_node,
            "cpus-per-task": self.cpus_per_task,
            "mem": self.mem,
            "partition": self.partition,
            "account": self.account,
            "array": None if self.jobs is None else f"0-{self.jobs - 1}",
        }
        return [f"--{name}={value}" for name, value in values.items() if value is not None] + list(self.more)

    def cpus_for(self, trials: int, resources: Resources) -> int:
        """Compute the cores to request on each node: those given, or enough for all trials that run there at once."""
        if self.cpus_per_task is not None:
            return self.cpus_per_task
        cpus, gpus = taken(resources, self.gpus)
        most = slots([(math.inf, self.gpus)], cpus, gpus) if gpus else MOST_CPUS
        return max(1, min(trials, most)) * int(cpus)

    def slots(self, cpus: int, resources: Resources) -> int:
        """Count the trials that run at once in one job with `cpus` cores on each node."""
        return slots(*self._nodes_and_needs(cpus, resources))

    def shares(self, cpus: int, resources: Resources) -> GpuShares:
        """Create the GPU shares of one job with `cpus` cores on each node; none is taken yet."""
        return GpuShares(*self._nodes_and_needs(cpus, resources))

    def _nodes_and_needs(self, cpus: int, resources: Resources) -> tuple[list[tuple[int, int]], float, float]:
        """Return (cores, GPUs) of each node, a trial's cores (at most the node's) and its share of a GPU."""
        own_cpus, own_gpus = taken(resources, self.gpus)
        return [(cpus, self.gpus)] * self.nodes, min(own_cpus, cpus), own_gpus


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command-line options of the request."""
    parser.add_argument("--time", metavar="T", help=f"time limit: {TIME_FORMS}; default: 1.5 times the estimate")
    parser.add_argument("--nodes", default="1", metavar="N", help="number of nodes of the job; default: 1")
    parser.add_argument("--gpus-per-node", metavar="G", help="GPUs on each node, such as 4 or a100:4; default: none")
    parser.add_argument(
        "--cpus-per-task",
        metavar="C",
        help=f"cores on each node; default: enough for all trials that can run there in parallel, at most {MOST_CPUS} "
        "on nodes without GPUs",
    )
    parser.add_argument("--mem", metavar="M", help="memory on each node, such as 32G")
    parser.add_argument("--partition", metavar="P")
    parser.add_argument("--account", metavar="A")
    parser.add_argument(
        "--array",
        metavar="N",
        help="submit N jobs of one node, each with a share of the sweep; each starts as soon as a node is free",
    )
    parser.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help="any other option of sbatch, with '=', such as --sbatch=--constraint=a100 (repeatable)",
    )


def read_request(options: argparse.Namespace) -> Request:
    """Build the request from parsed options."""
    if options.time is not None and read_time(options.time) < LEAST_S:
        raise InputError(
            f"--time is {options.time!r}, but a job saves its trials minutes before the limit, so it would train "
            "nothing; request at least 15 minutes (--time 15)"
        )
    jobs = None if options.array is None else _count("--array", options.array, "--array 8 for eight jobs")
    nodes = _count("--nodes", options.nodes, "--nodes 4")
    if jobs is not None and nodes > 1:
        raise InputError(
            f"--nodes is {nodes} and --array is {jobs}, but each job of an array runs its share of the trials on one "
            f"node; use only one of the two (--array {jobs * nodes} requests as many nodes)"
        )
    gpus = options.gpus_per_node
    if gpus is not None and not re.fullmatch(r"([A-Za-z0-9._-]+:)?[1-9][0-9]{0,3}", gpus):
        raise InputError(
            f"--gpus-per-node is {gpus!r}, but must be a whole number from 1, optionally after a GPU type, such as 4 "
            "or a100:4; omit it for nodes without GPUs"
        )
    cpus = options.cpus_per_task
    return Request(
        time=options.time,
        nodes=nodes,
        gpus_per_node=gpus,
        cpus_per_task=None if cpus is None else _count("--cpus-per-task", cpus, "--cpus-per-task 8"),
        mem=options.mem,
        partition=options.partition,
        account=options.account,
        jobs=jobs,
        # argparse drops the value of --sbatch=--
        more=tuple(_check_further(option or "--") for option in options.sbatch),
    )


def _count(option: str, text: str, example: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise InputError(f"{option} is {text!r}, but must be a whole number from 1, such as {example}")
    return int(text)


def _check_further(option: str) -> str:
    """Return a further option of sbatch; refuse words that would be taken for the script or override our options."""
    if not re.match(r"--?[A-Za-z]", option):
        raise InputError(
            f"--sbatch is {option!r}, but must be an option of sbatch with its value in one word, such as "
            "--sbatch=--constraint=a100"
        )
    name = option[2:].partition("=")[0] if option.startswith("--") else _SHORT.get(option[1], "")
    if name in _OWN:
        raise InputError(f"--sbatch is {option!r}, but this command sets that option itself: use --{_OWN[name]}")
    return option


def read_time(text: str) -> int:
    """Convert a time in one of TIME_FORMS to seconds; as in SLURM, any field may be above 59.

    Raises InputError if it has another form, or is zero, which means no limit to SLURM.
    """
    if text.isascii() and (clock := _CLOCK.fullmatch(text)):
        fields = [int(field) for field in clock.groups() if field is not None]
        hours, minutes, seconds = {1: (0, *fields, 0), 2: (0, *fields), 3: tuple(fields)}[len(fields)]
        days = 0
    elif text.isascii() and (whole := _DAYS.fullmatch(text)):
        days, hours, minutes, seconds = (int(field or 0) for field in whole.groups())
    else:
        raise InputError(f"--time is {text!r}, but must be {TIME_FORMS}, such as --time 4:00:00 for four hours")
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not total:
        raise InputError(f"--time is {text!r}, but must be above 0 ({TIME_FORMS}); omit it to use the estimate")
    return total


def format_time(seconds: int) -> str:
    """Format seconds as SLURM does: "04:30:00", or "1-04:30:00" from a day on."""
    minutes, s = divmod(seconds, 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    return f"{days}-{h:02}:{m:02}:{s:02}" if days else f"{h:02}:{m:02}:{s:02}"
