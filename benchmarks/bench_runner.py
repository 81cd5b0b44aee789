"""What the runner itself costs, with trials that do nothing but leave their files: `python benchmarks/bench_runner.py`.

    python benchmarks/bench_runner.py                                the default: 300 fresh and 2,000 reused trials
    python benchmarks/bench_runner.py --fresh 1000 --reused 10000    half an hour on two cores

A stand-in trial goes all the way: a place in Tune's queue, a process (of its own, or one that the trial before used),
a log, an epoch's row, predictions, the search of their post-processing, its own row. What it takes is compared with the
same calls made one after the other in one process, without Ray and Tune. Beside it: planning, the driver's memory,
`status`, and the time from the command to the first training step against the bare start of Ray, Tune and PyTorch.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ser_ray.corpus import Corpus, CorpusWriter, open_corpus
from ser_ray.results import SweepFolder
from ser_ray.sweep.nodes.ray_folder import prepare_environment
from ser_ray.sweep.planning.explore import TrialFactory
from ser_ray.sweep.planning.plan import Plan, make_plan
from ser_ray.sweep.running.options import RunOptions
from ser_ray.sweep.running.run import run_sweep
from ser_ray.sweep.running.worker import WorkerOptions
from ser_ray.sweep.spec.config import SweepConfig, read_sweep
from ser_ray.sweep.spec.document import parse_document
from ser_ray.trial import Trial

SWEEP = """
name: stand-in
corpus: tiny
trial:
  model: {{channels: [3, 4], hidden: 5, kernels: [4, 6], pools: [8, 8]}}
  training: {{epochs: 1, sequence_s: 0.08, batch_size: 3}}
  search: {{methods: [greedy]}}
explore:
  - training.learning_rate: {{from: 0.0001, to: {last}, step: 0.0001}}
replicates: 5
"""
HOP, FRAMES = 64, 50


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", type=int, default=300, help="trials with a process each")
    parser.add_argument("--reused", type=int, default=2000, help="trials in processes that are used again")
    parser.add_argument("--starts", type=int, default=3, help="times from command to first step")
    options = parser.parse_args()
    prepare_environment()
    with tempfile.TemporaryDirectory(prefix="bench_runner_") as place:
        corpus = make_corpus(Path(place) / "corpus")
        starts(corpus, Path(place), options.starts)
        plan_large(corpus)
        alone = in_one_process(corpus, Path(place) / "alone")
        processes = bare_processes() if options.fresh else 0.0
        for title, count, gpus, own in (
            ("reused", options.reused, 0.0, alone),
            ("fresh", options.fresh, 1.0, alone + processes),
        ):
            if count:
                folder = through_the_runner(corpus, Path(place) / title, count, gpus, title, own)
                status(folder, count)


def make_corpus(path: Path) -> Corpus:
    """Return a corpus of a second: a recording per partition."""
    rng = np.random.default_rng(0)
    with CorpusWriter(path, name="tiny", label_rate=16000 / HOP, targets=("arousal", "valence")) as writer:
        for partition in ("train", "devel", "test"):
            audio = rng.integers(-1000, 1000, FRAMES * HOP).astype(np.int16)
            gold = rng.uniform(-1, 1, (FRAMES, 2)).astype(np.float32)
            writer.add(partition, partition, partition, audio, gold)
    return open_corpus(path)


def sweep_of(trials: int) -> SweepConfig:
    """Return a sweep of so many trials, five seeds each."""
    return read_sweep(parse_document(SWEEP.format(last=f"{trials // 5 / 10_000:.4f}"), "stand-in.yaml"))


def plan_large(corpus: Corpus) -> None:
    """Print how long ten thousand trials take to plan."""
    begin = time.perf_counter()
    plan = make_plan(sweep_of(10_000), TrialFactory(corpus, "stand-in", SweepFolder(Path("none"))))
    print(f"plan of {len(plan.trials):,} trials: {time.perf_counter() - begin:.2f} s")


def stand_in(trial: Trial, device: Any, report: Callable[[Any], None], **_: Any) -> None:
    """Leave what a training leaves, of noise."""
    import pyarrow as pa

    from ser_ray import results
    from ser_ray.trial.rows import configured_columns, epoch_row, prediction_rows

    epoch = EPOCH
    results.write_part(
        trial.folder, "epochs", trial.key, results.make_table("epochs", [epoch_row(trial.key, 0.0, epoch)])
    )
    report(epoch)
    rng = np.random.default_rng(trial.config.training.seed)
    tables = [
        prediction_rows(
            recording,
            trial.config.model.targets,
            trial.corpus.label_rate,
            rng.normal(size=(recording.frames, 2)).astype(np.float32),
            trial.corpus.gold(recording),
        )
        for partition in ("devel", "test")
        for recording in trial.corpus.recordings(partition)
    ]
    row = configured_columns(trial) | {"epochs": 1, "best_epoch": 1}
    metadata = {
        "trial": json.dumps(row, default=str),
        "search": json.dumps(dataclasses.asdict(trial.config.search)),
    }
    results.write_part(trial.folder, "predictions", trial.key, pa.concat_tables(tables), metadata=metadata)


@dataclasses.dataclass
class _Scores:
    pooled: dict[str, float]
    per_recording: dict[str, float]


@dataclasses.dataclass
class _Epoch:
    epoch: int
    train_loss: float
    devel: _Scores
    best: bool
    train_seconds: float
    evaluate_seconds: float
    ended_at: datetime


_CCC = {"arousal": 0.1, "valence": 0.1, "mean": 0.1}
EPOCH = _Epoch(1, 0.5, _Scores(_CCC, _CCC), True, 0.0, 0.0, datetime(2026, 1, 1, tzinfo=UTC))


def in_one_process(corpus: Corpus, place: Path, trials: int = 200) -> float:
    """Return the seconds of a stand-in and its search, without the runner."""
    from ser_ray.trial import search_trial

    sweep = make_run(corpus, place, trials, gpus=0.0)
    begin = time.perf_counter()
    for trial in sweep.trials:
        stand_in(trial, None, lambda epoch: None)
        search_trial(sweep.folder, trial.key)
    seconds = (time.perf_counter() - begin) / trials
    print(f"a stand-in and its search by themselves: {1000 * seconds:.1f} ms")
    return seconds


def bare_processes(count: int = 20) -> float:
    """Return the seconds of a process that imports PyTorch and nothing else, two of them at a time."""
    begin = time.perf_counter()
    for _ in range(count // 2):
        pair = [subprocess.Popen([sys.executable, "-c", "import torch"]) for _ in range(2)]
        for process in pair:
            process.wait()
    seconds = 2 * (time.perf_counter() - begin) / count
    print(f"a bare process that imports PyTorch, two at a time: {seconds:.2f} s")
    return seconds


def make_run(corpus: Corpus, place: Path, count: int, gpus: float) -> Plan:
    """Return a plan that is ready to run."""
    config = sweep_of(count)
    config = dataclasses.replace(config, resources=dataclasses.replace(config.resources, gpus=gpus))
    return make_plan(config, TrialFactory(corpus, "stand-in", SweepFolder(place / "stand-in")))


def through_the_runner(corpus: Corpus, place: Path, count: int, gpus: float, title: str, alone: float) -> SweepFolder:
    """Run a sweep of stand-ins and print what each of its trials took, and the driver's memory."""
    from ser_ray.sweep.running import driver, tune

    original, cluster = tune.train_one, driver.cluster

    def train_one(config: Mapping[str, Any], options: WorkerOptions, report: Callable[[dict[str, Any]], None]) -> None:
        from ser_ray.trial import train

        train.train_trial = stand_in
        original(config, options, report)

    def with_gpus(address: str | None, log: Path | None = None, **options: Any) -> AbstractContextManager[Any]:
        # Ray gives out GPUs that it is told of; the stand-ins touch none
        return cluster(address, log, gpus=2 if gpus else 0)

    tune.train_one, driver.cluster = train_one, with_gpus
    plan = make_run(corpus, place, count, gpus)
    memory = _Memory(plan.folder, count)
    begin = time.perf_counter()
    try:
        with memory, contextlib.redirect_stdout(open("/dev/null", "w")):
            code = run_sweep(plan, RunOptions())
    finally:
        tune.train_one, driver.cluster = original, cluster
    wall = time.perf_counter() - begin
    finished = len(plan.folder.keys("trials"))
    assert (code, finished) == (0, count), (code, finished)
    print(
        f"{count:,} trials, {title} processes, two at a time: {wall:.0f} s with the start of Ray; "
        f"{memory.seconds_per_trial():.3f} s for each further trial, of which its own work is {alone / 2:.3f} s "
        f"and the runner's {memory.seconds_per_trial() - alone / 2:.3f} s; "
        f"memory of the driver grows by {memory.kilobytes_per_trial():.0f} kB a trial"
    )
    return plan.folder


class _Memory:
    """Notes the time and the resident memory of this process as trials end, from a tenth of them on."""

    def __init__(self, folder: SweepFolder, count: int) -> None:
        import threading

        self._folder, self._count = folder, count
        self._seen: list[tuple[int, int, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(1.0):
            done = len(self._folder.keys("trials"))
            if done > self._count / 10:
                resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4
                self._seen.append((done, resident, time.perf_counter()))

    def kilobytes_per_trial(self) -> float:
        """Return the slope of memory over trials, by least squares."""
        return self._slope(1)

    def seconds_per_trial(self) -> float:
        """Return the slope of time over trials, by least squares."""
        return self._slope(2)

    def _slope(self, column: int) -> float:
        if len(self._seen) < 3:
            return float("nan")
        seen = np.array(self._seen)
        return float(np.polyfit(seen[:, 0], seen[:, column], 1)[0])


def status(folder: SweepFolder, count: int) -> None:
    """Print how long `ser-ray status` and `leaderboard` take on what is there, as commands."""
    for command in ("status", "leaderboard"):
        seconds = []
        for _ in range(3):
            begin = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "ser_ray", command, str(folder.path)], stdout=subprocess.DEVNULL, check=True
            )
            seconds.append(time.perf_counter() - begin)
        print(f"`ser-ray {command}` on {count:,} trials: {min(seconds):.2f} s")


BARE = """
import time, os
import torch
import ray
from ray import tune
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
def train(config):
    import torch
    torch.zeros(1)
    open(config["mark"], "w").close()
    tune.report({"x": 1})
tune.Tuner(tune.with_resources(train, {"cpu": 1}), param_space={"mark": os.environ["MARK"]},
           run_config=tune.RunConfig(verbose=0, storage_path=os.environ["STORAGE"])).fit()
"""


def starts(corpus: Corpus, place: Path, times: int) -> None:
    """Print the time from the command to the first epoch, and from a bare script to the first line of its trial."""
    ours, bare = [], []
    for number in range(times):
        bare.append(_until_bare(place / f"bare{number}"))
        ours.append(_until_step(corpus, place / f"start{number}"))
    print(
        f"from the command to the first epoch: {min(ours):.1f} s; bare Ray, Tune and torch: {min(bare):.1f} s "
        f"({min(ours) - min(bare):+.1f} s; best of {times} each)"
    )


def _until_bare(place: Path) -> float:
    place.mkdir()
    mark = place / "mark"
    environment = os.environ | {"MARK": str(mark), "STORAGE": str(place / "tune")}
    return _until(mark, [sys.executable, "-c", BARE], environment)


def _until_step(corpus: Corpus, place: Path) -> float:
    place.mkdir()
    file = place / "one.yaml"
    text = SWEEP.format(last="0.0001").replace("corpus: tiny", f"corpus: {corpus.path}")
    file.write_text(text.replace("replicates: 5", "replicates: 1"))
    results = place / "results"
    command = [sys.executable, "-m", "ser_ray.sweep", str(file), "--results", str(results)]
    return _until(results / "stand-in" / "epochs", command, dict(os.environ))


def _until(path: Path, command: list[str], environment: dict[str, str]) -> float:
    """Return the seconds from a command to a path that it makes, and wait for the command's end."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not path.exists():
        if process.poll() is not None and not path.exists():
            raise RuntimeError(f"{command} ended without {path}")
        time.sleep(0.02)
    seconds = time.perf_counter() - begin
    process.wait()
    return seconds


if __name__ == "__main__":
    main()
