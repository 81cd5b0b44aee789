"""A small sweep in the middle of its run, written with the project's own writer."""

import copy
import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ser_ray.overlap import overlap_ratio, receptive_field
from ser_ray.results import (
    METHODS,
    STAGES,
    TARGETS,
    SweepFolder,
    ccc_column,
    crossfit_column,
    make_table,
    read_table,
    write_part,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DESIGNS = [
    ((3, 3, 3), (10, 8, 8)),
    ((8, 6, 6), (10, 8, 8)),
    ((11, 9, 9), (10, 8, 8)),
    ((4, 12, 6), (4, 20, 8)),
]
YAML = 'name: overlap\ncorpus: synthetic  # <small> & "quoted"\nreplicates: 3\n'


@dataclass
class FakeSweep:
    """A sweep's folder that trials can be added to."""

    folder: SweepFolder
    test_gold: bool = True
    targets: tuple[str, ...] = TARGETS
    name: str = "overlap"
    keys: dict[str, list[str]] = field(default_factory=dict)

    def config(self, design: int = 0, seed: int = 0, **training: Any) -> dict[str, Any]:
        kernels, pools = DESIGNS[design]
        return {
            "trial_version": 1,
            "corpus_fingerprint": "0123456789abcdef" * 4,
            "model": {
                "channels": [64, 128, 256],
                "kernels": list(kernels),
                "pools": list(pools),
                "hidden": 256,
                "targets": list(self.targets),
            },
            "training": {"epochs": 20, "sequence_s": 6.0, "learning_rate": 1e-4, "seed": seed} | training,
        }

    def scores(self, rng: np.random.Generator, level: float) -> dict[str, float]:
        partitions = ("devel", "test") if self.test_gold else ("devel",)
        found: dict[str, float] = {}
        for partition in partitions:
            for number, stage in enumerate(STAGES):
                for suffix in ("", "_per_recording"):
                    values = {
                        target: level + 0.1 * (target == "arousal") + 0.03 * number + rng.normal(0, 0.02)
                        for target in self.targets
                    }
                    values["mean"] = float(np.mean(list(values.values())))
                    for target, value in values.items():
                        found[ccc_column(partition, target, stage=stage) + suffix] = value
        return found

    def row(self, key: str, config: dict[str, Any], status: str = "finished", **columns: Any) -> dict[str, Any]:
        kernels, pools = config["model"]["kernels"], config["model"]["pools"]
        return {
            "key": key,
            "sweep": self.name,
            "status": status,
            "kernels": kernels,
            "pools": pools,
            "overlap_ratios": [overlap_ratio(k, p) for k, p in zip(kernels, pools, strict=True)],
            "targets": list(self.targets),
            "seed": config["training"]["seed"],
            "sequence_s": config["training"]["sequence_s"],
            "learning_rate": config["training"]["learning_rate"],
            "parameters": 1_299_906,
            "receptive_field_ms": receptive_field(kernels, pools) / 16,
            "train_seconds": 100.0,
            "search_seconds": 3.0,
            "device": "cpu",
            "host": "node1",
            "started_at": NOW - timedelta(hours=2),
            "ended_at": NOW - timedelta(hours=1),
            "git_commit": "abc1234",
            "versions": json.dumps({"torch": "2.11.0", "ray": "2.60.0"}),
            "corpus": "synthetic",
            "corpus_fingerprint": config["corpus_fingerprint"],
            "config": json.dumps(config),
            **columns,
        }

    def write(self, table: str, key: str, rows: list[dict[str, Any]]) -> None:
        write_part(self.folder, table, key, make_table(table, rows))

    def write_epochs(self, key: str, count: int, level: float, last: datetime = NOW) -> None:
        rng = np.random.default_rng(len(key) + count)
        epochs = np.arange(1, count + 1)
        mean = level * (1 - np.exp(-epochs / 5)) + rng.normal(0, 0.01, count)
        rows = []
        for epoch, score in zip(epochs, mean, strict=True):
            scores = {f"ccc_devel_{target}": float(score) for target in (*self.targets, "mean")}
            rows.append(
                {
                    "key": key,
                    "epoch": int(epoch),
                    "train_loss": float(1 - score + 0.05),
                    **scores,
                    "ended_at": last - timedelta(minutes=int(count - epoch)),
                }
            )
        self.write("epochs", key, rows)

    def write_predictions(self, key: str, quality: float) -> None:
        rng = np.random.default_rng(7)
        rows = []
        for partition in ("devel", "test"):
            for number in range(3):
                time = np.arange(100) / 25
                for frame, now in enumerate(time):
                    row: dict[str, Any] = {
                        "recording": f"{partition}_{number}",
                        "partition": partition,
                        "frame": frame,
                        "time_s": float(now),
                    }
                    for target in self.targets:
                        gold = float(np.sin(now + number + (target == "valence")))
                        row[f"prediction_{target}"] = quality * gold + rng.normal(0, 0.1 * (number + 1))
                        if partition == "devel" or self.test_gold:
                            row[f"gold_{target}"] = gold
                    rows.append(row)
        self.write("predictions", key, rows)

    def devel(self, key: str, target: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Predictions and gold of the devel recordings that are labelled throughout, one array each."""
        recordings: dict[str, list[tuple[float, float]]] = {}
        for row in read_table(self.folder, "predictions", keys=[key]).to_pylist():
            if row["partition"] == "devel":
                gold = row[f"gold_{target}"]
                pair = (row[f"prediction_{target}"], np.nan if gold is None else gold)
                recordings.setdefault(row["recording"], []).append(pair)
        pairs = [np.array(frames) for frames in recordings.values()]
        whole = [pair for pair in pairs if np.isfinite(pair).all()]
        return [pair[:, 0] for pair in whole], [pair[:, 1] for pair in whole]

    def search(self, key: str, methods: tuple[str, ...] = METHODS, **columns: Any) -> None:
        """Search the post-processing of a trial's predictions within half a second or so, and write what comes out.

        `columns` stand in its rows whatever was found; max_window_s, max_shift_s and forward_only are searched within.
        """
        from ser_ray.postprocess import SearchConfig, search_exhaustive, search_greedy

        columns = {"choice": "per_target", "max_window_s": 0.6, "max_shift_s": 0.4, "forward_only": False} | columns
        bounds = {name: columns[name] for name in ("max_window_s", "max_shift_s", "forward_only")}
        grid = SearchConfig(**bounds).grid(25.0, 100)
        lengths = {"max_window_frames": grid.max_window_frames, "max_shift_frames": grid.max_shift_frames}
        rows = []
        for target in self.targets:
            traces = self.devel(key, target)
            for method in methods:
                if method == "greedy":
                    found = search_greedy(*traces, **lengths)
                else:
                    found = search_exhaustive(*traces, **lengths, forward_only=grid.forward_only)
                rows.append(
                    {
                        "key": key,
                        "target": target,
                        "method": method,
                        **asdict(found.chain),
                        "median_window_s": found.chain.median_window / 25,
                        "shift_s": found.chain.shift / 25,
                        "ccc_devel_raw": found.raw_ccc,
                        "ccc_devel": found.ccc,
                        **columns,
                    }
                )
        self.write("postprocessing", key, rows)

    def rewrite(self, table: str, key: str, **columns: Any) -> None:
        """Write a part anew with other values in some columns; a function is called with each row."""
        rows = read_table(self.folder, table, keys=[key]).to_pylist()
        for row in rows:
            row.update({name: value(row) if callable(value) else value for name, value in columns.items()})
        self.write(table, key, rows)

    def estimate_unseen(self) -> None:
        """Give the finished trials what their searches are estimated to reach on unseen recordings: a tenth less."""
        pairs = [(method, target) for method in METHODS for target in (*self.targets, "mean")]
        for key in self.keys["finished"]:
            (row,) = read_table(self.folder, "trials", keys=[key]).to_pylist()
            found = {crossfit_column(m, t): row[ccc_column("devel", t, stage=m)] - 0.1 for m, t in pairs}
            self.write("trials", key, [row | found])

    def write_log(self, key: str, text: str) -> None:
        log = self.folder.log(key)
        log.parent.mkdir(exist_ok=True)
        log.write_text(text)

    def add(self, key: str, config: dict[str, Any], level: float, status: str = "finished", **columns: Any) -> None:
        rng = np.random.default_rng(int(key[:8], 16))
        scores = {} if status == "failed" else self.scores(rng, level)
        self.write_epochs(key, 20 if status == "finished" else 6, level)
        if status != "failed":
            self.write_predictions(key, quality=min(1.0, level))
        self.write("trials", key, [self.row(key, config, status, **(scores | columns))])
        self.write_log(key, f"log of {key}\n")
        self.keys.setdefault(status, []).append(key)


def fill(sweep: FakeSweep) -> FakeSweep:
    """Four designs of three seeds; of the last one seed failed and one was stopped early."""
    for design, level in enumerate([0.30, 0.52, 0.45, 0.41]):
        for seed in range(3):
            status = {(3, 1): "failed", (3, 2): "stopped"}.get((design, seed), "finished")
            error = "RuntimeError: <b>out of [memory]</b>\nat step 3" if status == "failed" else None
            key = f"{design + 1}{seed}cd{design * 3 + seed:02d}ef0123"
            # the stopped trial's figures would show in any mean that took it
            shown = level + 0.5 if status == "stopped" else level
            sweep.add(key, sweep.config(design, seed), shown, status, error=error)
    return sweep


def make_sweep(parent: Path, name: str = "overlap", **settings: Any) -> FakeSweep:
    """An empty sweep."""
    folder = SweepFolder(parent / name)
    folder.path.mkdir()
    folder.sweep_file.write_text(YAML)
    return FakeSweep(folder, name=name, **settings)


@pytest.fixture
def new_sweep(tmp_path: Path) -> Callable[..., FakeSweep]:
    """Return a function that makes an empty sweep."""
    return functools.partial(make_sweep, tmp_path)


@pytest.fixture(scope="session")
def whole_sweep(tmp_path_factory: pytest.TempPathFactory) -> FakeSweep:
    """Return a sweep with trials of every status, one not searched, two under way."""
    made = fill(make_sweep(tmp_path_factory.mktemp("sweep")))
    made.write_epochs("aaaaaaaaaaaa", 20, 0.4)
    made.write_predictions("aaaaaaaaaaaa", 0.4)
    made.write_epochs("bbbbbbbbbbbb", 7, 0.35, last=NOW - timedelta(minutes=3))
    made.write_log("cccccccccccc", "begins\n")
    return made


@pytest.fixture
def sweep(whole_sweep: FakeSweep, tmp_path: Path) -> FakeSweep:
    """Return a copy of the whole sweep, for one test to change as it likes."""
    path = Path(shutil.copytree(whole_sweep.folder.path, tmp_path / "overlap", copy_function=shutil.copyfile))
    return replace(whole_sweep, folder=SweepFolder(path), keys=copy.deepcopy(whole_sweep.keys))


@pytest.fixture(scope="session")
def sweep_without_test_gold(tmp_path_factory: pytest.TempPathFactory) -> FakeSweep:
    """Return a sweep whose test partition has no gold; it is not to be changed."""
    return fill(make_sweep(tmp_path_factory.mktemp("without_gold"), test_gold=False))
