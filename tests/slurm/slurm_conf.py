"""The configuration files of a SLURM site of a few made-up nodes."""

from dataclasses import dataclass
from pathlib import Path

NETWORK = "10.77.0"
CONTROLLER = "ctl"
CGROUP_CONF = "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\n"


@dataclass(frozen=True)
class Site:
    """A site's nodes and settings; what is unsaid is SLURM's default, but for waits that would last minutes."""

    nodes: int = 2
    cpus: int = 4  # of each node, whatever the machine has
    gpus: int = 2  # of each node; character devices that compute nothing. 0: a site that does not know of GPUs
    prefix: str = "n"  # of the nodes' names: n1, n2
    kill_on_bad_exit: int = 0  # 1: a task that fails ends its step
    wait_time: int = 0  # seconds after which a task that ended ends its step; 0: never
    kill_wait: int = 5  # seconds from SIGTERM to SIGKILL at the time limit
    grace_time: int = 5  # seconds from SIGTERM to SIGKILL at a preemption, of partition low
    preempt_send_user_signal: bool = True  # a preemption sends the signal of --signal first

    def names(self) -> list[str]:
        """Return the nodes' names."""
        return [f"{self.prefix}{number}" for number in range(1, self.nodes + 1)]

    def address(self, node: str) -> str:
        """Return a node's address."""
        return f"{NETWORK}.{10 + int(node.removeprefix(self.prefix))}"


def write_conf(site: Site, folder: Path, freezer: bool) -> None:
    """Write what slurmctld and slurmd read.

    Args:
        site: what to describe.
        folder: gets slurm.conf, gres.conf, cgroup.conf and the hosts file.
        freezer: whether there are control groups in which SLURM can keep a job's processes.
    """
    texts = {"slurm.conf": _slurm_conf(site, folder, freezer), "plugstack.conf": "", "hosts": _hosts(site)}
    if freezer:
        texts["cgroup.conf"] = CGROUP_CONF
    if site.gpus:
        texts["gres.conf"] = f"Name=gpu File=/run/gpus/gpu[0-{site.gpus - 1}]\n"
    for name, text in texts.items():
        (folder / name).write_text(text)


def _hosts(site: Site) -> str:
    lines = ["127.0.0.1 localhost", f"{NETWORK}.1 {CONTROLLER}"]
    return "\n".join(lines + [f"{site.address(name)} {name}" for name in site.names()]) + "\n"


def _slurm_conf(site: Site, folder: Path, freezer: bool) -> str:
    values = {
        "ClusterName": "sandbox",
        "SlurmctldHost": f"{CONTROLLER}({NETWORK}.1)",
        "SlurmUser": "root",
        "SlurmdUser": "root",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": "/var/spool/slurmd",  # of the node alone, as everything below /var/spool there
        "SlurmctldPidFile": "/run/slurmctld.pid",
        "SlurmdPidFile": "/run/slurmd.%n.pid",
        "SlurmctldLogFile": folder / "log/slurmctld.log",
        "SlurmdLogFile": folder / "log/slurmd.%n.log",
        "SlurmctldDebug": "verbose",
        "SlurmdDebug": "verbose",
        "PlugStackConfig": folder / "plugstack.conf",
        "AuthType": "auth/munge",
        "AuthInfo": "socket=/run/munge/socket,cred_expire=5",  # a requeued job waits as long as credentials last: 120 s
        "ProctrackType": "proctrack/cgroup" if freezer else "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "MpiDefault": "none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "SchedulerType": "sched/backfill",
        "SchedulerParameters": "sched_interval=5,bf_interval=5,sched_min_interval=0,batch_sched_delay=0",
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "JobRequeue": 1,
        "ReturnToService": 2,  # a node that comes back serves again
        "SlurmdTimeout": 10,  # 300 s
        "SlurmctldTimeout": 10,
        "KillWait": site.kill_wait,
        "KillOnBadExit": site.kill_on_bad_exit,
        "WaitTime": site.wait_time,
        "MinJobAge": 3600,  # a test asks for its job when it has long ended
        "MailProg": "/bin/true",
        "SlurmdParameters": "config_overrides",  # more CPUs than there are
    }
    if site.preempt_send_user_signal:
        values["SlurmctldParameters"] = "preempt_send_user_signal"
    if site.gpus:
        values["GresTypes"] = "gpu"
    lines = [f"{key}={value}" for key, value in values.items()]
    for name in site.names():
        shape = (
            f"CPUs={site.cpus} Boards=1 SocketsPerBoard=1 CoresPerSocket={site.cpus} ThreadsPerCore=1 RealMemory=8000"
        )
        gres = f" Gres=gpu:{site.gpus}" if site.gpus else ""
        lines.append(f"NodeName={name} NodeAddr={site.address(name)} {shape}{gres} State=UNKNOWN")
    grace = f"PreemptMode=REQUEUE GraceTime={site.grace_time}"
    lines.append(f"PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 {grace} State=UP")
    lines.append("PartitionName=high Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF State=UP")
    return "\n".join(lines) + "\n"
