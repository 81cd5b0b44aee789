"""The part of a run in which Ray is there: trials train, their predictions are searched, and the user is told."""

import contextlib
import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from ser_ray import allocation, kernel_cache, provenance
from ser_ray.errors import InputError
from ser_ray.gpus.usable import UsableGpus, gpus_unusable, only_visible, usable_gpus
from ser_ray.sweep.attempt import Terms
from ser_ray.sweep.cluster import Cluster, RayNotUpError, cluster, wait_for_nodes
from ser_ray.sweep.ending import MAKE_ROOM, RAY_LOST, Ending, on_signals, told
from ser_ray.sweep.meeting import Meeting
from ser_ray.sweep.mps import shared_gpus
from ser_ray.sweep.node_watch import NodeWatch
from ser_ray.sweep.outcomes import Outcomes, proposed_trial
from ser_ray.sweep.plan import PlannedTrial
from ser_ray.sweep.presence import Presence
from ser_ray.sweep.progress import Progress
from ser_ray.sweep.ray_thread import RayThread
from ser_ray.sweep.reuse import adopt_checkpoints
from ser_ray.sweep.search_pool import SearchPool
from ser_ray.sweep.share import Share
from ser_ray.sweep.slots import search_actors
from ser_ray.sweep.staging import staging_of
from ser_ray.sweep.standing import Standing
from ser_ray.sweep.supply import Supply
from ser_ray.sweep.trial_resources import with_resources
from ser_ray.sweep.tune import train_trials
from ser_ray.sweep.verifying import CorpusVerification
from ser_ray.trial import Trial

if TYPE_CHECKING:
    from ser_ray.sweep.run import SweepRun

LOOK_S = 0.2
NOT_BEGUN = "no trial has begun"
SAVING = "trials save what they have"
SEARCHING = "what is trained is searched, for two minutes at most"
HEAD_S = 300.0
"""How long the head of a cluster may take to tell its address: its node is looked at first, its file system is cold."""
LEAVE_S = 15.0
"""How long Tune may take to leave at once; after that it is left behind."""


class Work:
    """What one run does on a cluster.

    Args:
        run: the sweep that is run.
        standing: what of its plan stands already.
    """

    def __init__(self, run: "SweepRun", standing: Standing) -> None:
        self._run, self._standing = run, standing
        self._folder, self._config = run.folder, run.config
        self._trials = {trial.key: trial for trial in run.trials}
        self._ending = Ending(self._folder.tmp / f"go-{_driver_name()}")
        self._doing = NOT_BEGUN
        self.proposed: list[Trial] = []
        epochs = {trial.key: trial.config.training.epochs for trial in standing.to_train}
        done = len(run.trials) - len(standing.to_train) - len(standing.to_search)
        # Ray and its children write to the standard streams by themselves; the view keeps the stream as it is now.
        log = self._folder.path / _log_name(run.share)
        self._progress = Progress(run.labels, epochs, done, log, sys.stdout, run.to_propose, self._on_unwritable)
        self._outcomes: Outcomes | None = None

    def run(self, outcome: Callable[[], str]) -> None:
        """Train and search what does not stand.

        Args:
            outcome: says at the end how the run ended.

        Raises:
            InputError: if no node has what a trial asks for, or the corpus is not what its manifest says.
            KeyboardInterrupt: if the run was asked a second time to end.
        """
        presence = Presence(self._folder, self._progress.pace, self._keep_house, self._run.share)
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self._scratch, ignore_errors=True)
            stack.callback(self._ending.close)
            stack.enter_context(self._progress)
            stack.enter_context(presence.shown(outcome))
            stack.enter_context(on_signals(self._ending))
            stack.enter_context(told(self._ending, self._progress.say, lambda: self._doing))
            self._adopt()
            try:
                self._on_cluster(stack.enter_context(ThreadPoolExecutor(1)))
            except RayNotUpError as error:  # no trial has begun: all stay open
                self._progress.say(f"RAY       {error}")
                self._tell_lost()

    @property
    def _scratch(self) -> Path:
        """Tune's own files of this run; another run of the same sweep has another place for its."""
        return self._folder.tmp / f"tune-{_driver_name()}"

    def _on_unwritable(self, reason: str) -> None:
        self._ending.ask(f"{MAKE_ROOM} ({reason})")

    def _keep_house(self) -> None:
        if self._outcomes is not None:
            self._outcomes.keep_house()

    def _adopt(self) -> None:
        for key, donor in adopt_checkpoints(self._folder, self._standing.to_train, self._run.donors).items():
            self._progress.say(f"longer    {key}  goes on from {donor}, which has fewer epochs")

    def _on_cluster(self, beside: ThreadPoolExecutor) -> None:
        say, resources = self._progress.say, self._config.resources
        meeting = self._run.meeting
        if resources.mps and meeting is not None and meeting.nodes > 1 and os.environ.get("SER_RAY_MPS") != "1":
            raise InputError(
                "resources.mps is true, but on several nodes each starts CUDA MPS before it knows of the sweep: write "
                "export SER_RAY_MPS=1 in slurm/site.env, or set resources.mps to false"
            )
        say("starting Ray")
        address = self._address()  # before the kernels, whose compilation a run without a cluster would wait for
        if self._ending.wanted:
            return
        trains = bool(self._standing.to_train or self._run.to_propose)
        compiled = beside.submit(_compile_kernels, trains and resources.backend != "reference")
        gpus = usable_gpus() if address is None and trains and resources.gpus else UsableGpus(())
        for unusable in gpus.unusable:
            say(f"GPU       not used: {unusable}")
        # a copy on the node's own disk is verified as it is made
        here = self._run.template.corpus if trains and resources.verify_corpus and resources.staging is None else None
        with (
            only_visible(gpus),
            CorpusVerification(here, say) as verification,
            shared_gpus(address is None and (resources.mps or os.environ.get("SER_RAY_MPS") == "1"), say),
            cluster(address, self._folder.path / "ray.log", gpus=len(gpus.ids)) as first,
            NodeWatch(self._on_lost_node, address, say) as watch,
        ):
            machines = self._all_nodes(first)
            watch.tell_changes()
            given = allocation.gpus_given()
            if given and trains and resources.gpus and not machines.gpus:
                raise gpus_unusable(given, None)  # on several nodes: the doctor has said there what it found
            shared = with_resources(self._run.template, resources, machines, say)
            if not resources.verify_corpus:
                shared = dataclasses.replace(shared, corpus_verified=False)
            say(
                f"Ray has {machines.cpus:g} CPUs, {machines.gpus:g} GPUs, {len(machines.nodes)} nodes; a trial has "
                f"{shared.cpus:g} CPU" + (f" and {shared.gpus:g} GPU" if shared.gpus else "")
            )
            self._wait_for(compiled)
            verification.wait(lambda: self._ending.wanted)
            slots = machines.slots(shared.cpus, shared.gpus)
            supply = Supply(self._standing.to_train, shared, self._run.guided, slots, self._on_proposed)
            training = slots * shared.cpus if trains else 0.0
            with self._searching(search_actors(resources.search_actors, machines.cpus, training), supply) as outcomes:
                for trial in self._standing.to_search:
                    outcomes.trained(trial.key)
                if trains and not self._ending.wanted:
                    self._train(supply, shared, outcomes)
            if outcomes.corpus_altered is not None:
                raise InputError(outcomes.corpus_altered)

    @contextlib.contextmanager
    def _searching(self, actors: int, supply: Supply) -> Iterator[Outcomes]:
        """Have a pool search what is trained, until all of that is searched; yield what trials' ends are told to."""
        pool = SearchPool(self._folder, actors, lambda key, error: outcomes.searched(self._trials[key], error))
        outcomes = Outcomes(self._run, self._progress, self._ending, supply, pool.submit)
        self._outcomes, self._doing = outcomes, SEARCHING
        try:
            yield outcomes
        finally:
            try:
                pool.close(now=lambda: self._ending.now)
            finally:
                self._outcomes = None  # no process is ended any more by way of Ray, which is about to be left
                outcomes.close()

    def _wait_for(self, compiled: "Future[None]") -> None:
        if not compiled.done():
            self._progress.say("compiling the kernels of training, once for this kind of CPU")
        compiled.result()
        words = kernel_cache.describe_private_folder()
        if words is not None:
            self._progress.say(words)

    def _train(self, supply: Supply, shared: Trial, outcomes: Outcomes) -> None:
        schedule, resources = self._config.schedule, self._config.resources
        terms = Terms(
            go=self._ending.go,
            silence_s=60 * schedule.silence_minutes,
            save_every_s=60 * schedule.checkpoint_minutes,
            backend=resources.backend,
            staging=staging_of(resources),
            verify_corpus=resources.verify_corpus,
        )
        given = self._config.given("training.epochs", shared.config.training.epochs)
        most = max((trial.config.training.epochs for trial in self._standing.to_train), default=given)
        training = RayThread(
            lambda: train_trials(supply, schedule, most, shared, terms, outcomes, self._ending, self._scratch),
            "training",
        )
        self._doing = SAVING
        training.start()
        self._attend(training)
        self._doing = SEARCHING

    def _attend(self, training: RayThread) -> None:
        """Wait for the training, and see to its end where it is to end before."""
        began = time.monotonic()
        most_s = None if self._config.schedule.max_hours is None else 3600 * self._config.schedule.max_hours
        try:
            while not training.wait(LOOK_S) and not (self._ending.now and self._ending.since > LEAVE_S):
                if most_s is not None and time.monotonic() - began > most_s:
                    self._ending.ask(f"schedule.max_hours ({self._config.schedule.max_hours:g}) is over")
        except KeyboardInterrupt:
            training.wait(LEAVE_S)
        if not training.running:
            training.raise_if_failed()

    def _address(self) -> str | None:
        """Return where the cluster is, once its head has told; None to start one here."""
        meeting = self._run.meeting
        if meeting is None or meeting.nodes == 1:
            return os.environ.get("RAY_ADDRESS") or None
        deadline = time.monotonic() + HEAD_S
        while (address := meeting.address()) is None and not self._ending.wanted:
            # the head runs on this node, and nothing on another one can take its place
            if meeting.left < 1 or provenance.host_name() in meeting.unfit() or time.monotonic() > deadline:
                raise InputError(_no_head(meeting))
            time.sleep(LOOK_S)
        return address

    def _all_nodes(self, machines: Cluster) -> Cluster:
        """Return what the cluster has when the nodes of the job have come, or as many as will."""
        meeting = self._run.meeting
        if meeting is None or meeting.nodes == 1:
            return machines
        machines = wait_for_nodes(lambda: 0 if self._ending.wanted else meeting.left)
        for node, reason in sorted(meeting.unfit().items()):
            self._progress.say(f"NODE      {node} takes no part: {reason}")
        if len(machines.nodes) < meeting.nodes:
            self._progress.say(f"NODE      going on with {len(machines.nodes)} of {meeting.nodes} nodes")
        return machines

    def _on_lost_node(self) -> None:
        self._tell_lost()
        self._ending.ask(RAY_LOST, now=True)

    def _tell_lost(self) -> None:
        """Have a job begin again what went wrong through no fault of the sweep's."""
        if self._run.meeting is not None:
            with contextlib.suppress(OSError):  # the run ends all the same
                self._run.meeting.tell_lost()

    def _on_proposed(self, planned: PlannedTrial) -> None:
        self._run.record_plan([*(trial.key for trial in self.proposed), planned.key])
        trial = proposed_trial(self._run, self._progress, planned)
        self._trials[trial.key] = trial
        self.proposed.append(trial)


def _driver_name() -> str:
    """Return what no other driver of a sweep is called: two nodes may give two processes the same number."""
    return f"{provenance.host_name()}-{os.getpid()}"


def _no_head(meeting: Meeting) -> str:
    """Return why there is no cluster: what the nodes themselves said, or else what srun said of their steps."""
    unfit, ended = meeting.unfit(), meeting.ended()
    what = "no head of a Ray cluster came up" if unfit or meeting.left else "all steps were over before Ray was up"
    said = "".join(f"\n  {node}: {words}" for node, words in sorted((unfit or ended).items()))
    return f"{what} on the {meeting.nodes} nodes of this job{said}"


def _log_name(share: Share) -> str:
    return "sweep.log" if share.whole else f"sweep-{share.number}-of-{share.of}.log"


def _compile_kernels(training: bool) -> None:
    """Leave kernels compiled on disk, lest each process compiles its own: of searches, and if wanted of training."""
    from ser_ray.postprocess.running_median import warm

    warm()
    if training:
        from ser_ray.models import kernels

        kernels.warm()
