"""Driver of a run on Ray: train trials, search their predictions, and show the progress."""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from ser_ray import allocation, kernel_cache, provenance
from ser_ray.corpus.store.verifying import verification
from ser_ray.errors import InputError
from ser_ray.gpus.usable import UsableGpus, gpus_unusable, only_visible, usable_gpus
from ser_ray.plain_text import counted
from ser_ray.sweep.nodes.cluster import Cluster, RayNotUpError, cluster
from ser_ray.sweep.nodes.heartbeat import beating
from ser_ray.sweep.nodes.mps import shared_gpus
from ser_ray.sweep.nodes.node_watch import NodeWatch, cluster_address, joined_nodes
from ser_ray.sweep.nodes.ray_folder import RayThread
from ser_ray.sweep.nodes.stop import MAKE_ROOM, RAY_LOST, StopRequest, announce_stop, on_signals
from ser_ray.sweep.nodes.trial_resources import TrialResources, slots, trial_resources
from ser_ray.sweep.planning.listing import label_of
from ser_ray.sweep.planning.plan import Plan
from ser_ray.sweep.planning.reuse import adopt_checkpoints
from ser_ray.sweep.planning.states import TrialStates
from ser_ray.sweep.running.events import TrialEvents
from ser_ray.sweep.running.options import RunOptions
from ser_ray.sweep.running.progress import Progress
from ser_ray.sweep.running.queue import TrialQueue
from ser_ray.sweep.running.search_pool import SearchPool
from ser_ray.sweep.running.tune import TuneOptions, train_trials
from ser_ray.sweep.running.worker import WorkerOptions
from ser_ray.training.config import TrainingConfig
from ser_ray.trial import Trial

POLL_S = 0.2
NOT_BEGUN = "no trial has begun"
SAVING = "trials save a checkpoint"
SEARCHING = "trained trials are searched, for at most two minutes"
LEAVE_S = 15.0
"""How long Tune may take to end at once; after that it is left behind."""


class Driver:
    """Driver of the trials of a plan that are run here.

    Attributes:
        proposed: trials that a guided search has proposed since.
    """

    def __init__(self, plan: Plan, trials: Sequence[Trial], states: TrialStates, options: RunOptions) -> None:
        self._plan, self._states, self._options = plan, states, options
        self._folder, self._config = plan.folder, plan.config
        self._trials = {trial.key: trial for trial in trials}
        name = f"{provenance.host_name()}-{os.getpid()}"  # unique: processes of two nodes may have the same number
        self._stop = StopRequest(self._folder.tmp / f"go-{name}")
        self._scratch = self._folder.tmp / f"tune-{name}"  # Tune's own files
        share = options.share
        log = "sweep.log" if share.whole else f"sweep-{share.number}-of-{share.of}.log"
        self._doing = NOT_BEGUN
        self.proposed: list[Trial] = []
        # Ray and its children also write to the standard streams; the view keeps the stream that is set now.
        self._progress = Progress(
            {trial.key: label_of(trial) for trial in trials},
            {trial.key: trial.config.training.epochs for trial in states.to_train},
            len(trials) - states.open,
            self._folder.path / log,
            sys.stdout,
            plan.to_propose,
            lambda reason: self._stop.request(f"{MAKE_ROOM} ({reason})"),
        )
        self._events: TrialEvents | None = None

    def run(self, outcome: Callable[[], str]) -> None:
        """Train and search the open trials; `outcome()` is called at the end and returns how the run ended.

        Raises:
            InputError: if no node has what a trial requests, or the corpus does not match its manifest.
            KeyboardInterrupt: on a second signal to end the run.
        """
        heartbeat = beating(self._folder, self._progress.pace, outcome, self._maintain, self._options.share)
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self._scratch, ignore_errors=True)
            stack.callback(self._stop.close)
            stack.enter_context(self._progress)
            stack.enter_context(heartbeat)
            stack.enter_context(on_signals(self._stop))
            stack.enter_context(announce_stop(self._stop, self._progress.log, lambda: self._doing))
            adopted = adopt_checkpoints(self._folder, self._states.to_train, self._plan.source_sweeps)
            for key, source in adopted.items():
                self._progress.log(
                    f"longer    {key}  continues from the checkpoint of {source}, which has fewer epochs"
                )
            try:
                self._on_cluster(stack.enter_context(ThreadPoolExecutor(1)))
            except RayNotUpError as error:  # no trial has begun: all stay open
                self._progress.log(f"RAY       {error}")
                self._report_lost()

    def _maintain(self) -> None:
        if self._events is not None:
            self._events.maintain()

    def _on_cluster(self, beside: ThreadPoolExecutor) -> None:
        log, resources, rendezvous = self._progress.log, self._config.resources, self._options.rendezvous
        if resources.mps and rendezvous is not None and rendezvous.nodes > 1 and os.environ.get("SER_RAY_MPS") != "1":
            raise InputError(
                "resources.mps is true, but on several nodes CUDA MPS is started before the sweep file is read: write "
                "export SER_RAY_MPS=1 in slurm/site.env, or set resources.mps to false"
            )
        log("starting Ray")
        # before the kernels: a run without a cluster would wait for their compilation
        address = cluster_address(rendezvous, self._stop)
        if self._stop.requested:
            return
        trains = bool(self._states.to_train or self._plan.to_propose)
        compiled = beside.submit(_compile_kernels, trains and resources.backend != "reference")
        gpus = usable_gpus() if address is None and trains and resources.gpus else UsableGpus(())
        for unusable in gpus.unusable:
            log(f"GPU       not used: {unusable}")
        # a local copy is verified as it is made
        here = self._plan.corpus if trains and resources.verify_corpus and resources.staging is None else None
        with (
            only_visible(gpus),
            verification(here, log) as wait_for_verification,
            shared_gpus(address is None and (resources.mps or os.environ.get("SER_RAY_MPS") == "1"), log),
            cluster(address, self._folder.path / "ray.log", gpus=len(gpus.ids)) as first,
            NodeWatch(self._on_lost_node, address, log) as watch,
        ):
            machines = joined_nodes(rendezvous, first, self._stop, log)
            watch.log_changes()
            given = allocation.gpus_given()
            if given and trains and resources.gpus and not machines.gpus:
                raise gpus_unusable(given, None)  # on several nodes the doctor has reported the reason there
            each = trial_resources(resources, machines, log)
            log(
                f"Ray has {counted(machines.cpus, 'CPU')}, {counted(machines.gpus, 'GPU')}, "
                f"{counted(len(machines.nodes), 'node')}; a trial gets {counted(each.cpus, 'CPU')}"
                + (f" and {each.gpus:g} GPU" if each.gpus else "")
            )
            self._wait_for(compiled)
            wait_for_verification(lambda: self._stop.requested)
            self._run_trials(machines, each, trains=trains)

    def _run_trials(self, machines: Cluster, each: TrialResources, *, trains: bool) -> None:
        at_once = slots(machines.nodes, each.cpus, each.gpus)
        queue = TrialQueue(self._states.to_train, self._plan.guided, at_once, self._on_proposed)
        free = machines.cpus - (at_once * each.cpus if trains else 0.0)
        with self._searching(self._config.resources.search_actors or max(1, int(free)), queue) as events:
            for trial in self._states.to_search:
                events.trained(trial.key)
            if trains and not self._stop.requested:
                self._train(queue, each, events)
        if events.corpus_altered is not None:
            raise InputError(events.corpus_altered)

    @contextlib.contextmanager
    def _searching(self, actors: int, queue: TrialQueue) -> Iterator[TrialEvents]:
        """Yield the events of trials; a pool searches trained trials meanwhile, and the rest of them at the end."""
        pool = SearchPool(self._folder, actors, lambda key, error: events.searched(self._trials[key], error))
        board = None
        if self._options.tensorboard:
            # its library imports PyTorch, which takes seconds and which a driver does not need otherwise
            from ser_ray.sweep.running.tensorboard import TensorBoard

            board = TensorBoard(self._folder.path / "tensorboard")
        events = TrialEvents(self._plan, queue, self._stop, self._progress, pool.submit, board)
        self._events, self._doing = events, SEARCHING
        try:
            yield events
        finally:
            try:
                pool.close(now=lambda: self._stop.now)
            finally:
                self._events = None  # end no more processes through Ray, which is about to be shut down
                events.close()

    def _wait_for(self, compiled: "Future[None]") -> None:
        if not compiled.done():
            self._progress.log("compiling the training kernels, once for this kind of CPU")
        compiled.result()
        note = kernel_cache.describe_private_folder()
        if note is not None:
            self._progress.log(note)

    def _train(self, queue: TrialQueue, each: TrialResources, events: TrialEvents) -> None:
        schedule, resources = self._config.schedule, self._config.resources
        given = self._config.given("training.epochs", TrainingConfig().epochs)
        options = TuneOptions(
            schedule=schedule,
            most_epochs=max((trial.config.training.epochs for trial in self._states.to_train), default=given),
            resources=each,
            worker=WorkerOptions(
                go_file=self._stop.file,
                cpus=each.cpus,
                silence_s=60 * schedule.silence_minutes,
                save_every_s=60 * schedule.checkpoint_minutes,
                backend=resources.backend,
                local_copy=resources.staging,
                verify_corpus=resources.verify_corpus,
            ),
            folder=self._scratch,
        )
        training = RayThread(lambda: train_trials(queue, events, self._stop, options), "training")
        self._doing = SAVING
        training.start()
        wait_for_training(training, self._stop, schedule.max_hours)
        self._doing = SEARCHING

    def _on_lost_node(self) -> None:
        self._report_lost()
        self._stop.request(RAY_LOST, now=True)

    def _report_lost(self) -> None:
        """Report the loss of the cluster, so that a job begins again: the sweep is not at fault."""
        if self._options.rendezvous is not None:
            with contextlib.suppress(OSError):  # the run ends all the same
                self._options.rendezvous.report_lost()

    def _on_proposed(self, trial: Trial) -> None:
        self._plan.record([*(other.key for other in self.proposed), trial.key])
        self._progress.proposed(trial.key, label_of(trial), trial.config.training.epochs)
        self._trials[trial.key] = trial
        self.proposed.append(trial)


def wait_for_training(training: RayThread, stop: StopRequest, max_hours: float | None) -> None:
    """Wait for a training to end, request that after `max_hours`, and wait LEAVE_S at most if it must end at once.

    Raises:
        Exception: the training's own.
    """
    began = time.monotonic()
    try:
        while not training.wait(POLL_S) and not (stop.now and stop.elapsed_s > LEAVE_S):
            if max_hours is not None and time.monotonic() - began > 3600 * max_hours:
                stop.request(f"schedule.max_hours ({max_hours:g}) is reached")
    except KeyboardInterrupt:
        training.wait(LEAVE_S)
    if not training.running:
        training.raise_if_failed()


def _compile_kernels(training: bool) -> None:
    """Compile the kernels of searches and, if requested, of training to disk, so that processes need not do it."""
    from ser_ray.postprocess.running_median import warm

    warm()
    if training:
        from ser_ray.models import kernels

        kernels.warm()
