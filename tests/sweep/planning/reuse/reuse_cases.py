"""What trials leave behind, written by hand."""

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ser_ray.results import PREDICTIONS, make_table, read_table, write_part
from ser_ray.trial import keyed_config, search_trial


@dataclass(frozen=True)
class Fingerprinted:
    fingerprint: str = "f0"


def row_of(trial, status="finished", **columns):
    return {
        "key": trial.key,
        "sweep": "old",
        "status": status,
        "targets": ["arousal"],
        "max_epochs": trial.config.training.epochs,
        "epochs": trial.config.training.epochs,
        "config": json.dumps(keyed_config(trial.config, trial.corpus.fingerprint), sort_keys=True),
        "device": "cpu: x",
        "started_at": None,
        **columns,
    }


def write_row(folder, trial, status="finished"):
    write_part(folder, "trials", trial.key, make_table("trials", [row_of(trial, status)]))


def write_checkpoint(folder, trial, text=None):
    own = folder.checkpoints(trial.key)
    own.mkdir(parents=True)
    for name in ("last.pt", "best.pt"):
        (own / name).write_text(f"{name} of {text or trial.key}")


def checkpoint_of(folder, trial):
    return {path.name: path.read_text() for path in folder.checkpoints(trial.key).iterdir()}


def write_trained(folder, trial, methods=("greedy",)):
    """Everything that training leaves: epochs, checkpoints, and predictions to be searched."""
    key = trial.key
    write_part(folder, "epochs", key, make_table("epochs", [{"key": key, "epoch": n, "best": True} for n in (1, 2)]))
    write_checkpoint(folder, trial)
    rng = np.random.default_rng(trial.config.training.seed)
    columns = {
        "recording": np.repeat(["d1", "d2", "t1"], 40),
        "partition": np.repeat(["devel", "devel", "test"], 40),
        "frame": np.tile(np.arange(40, dtype=np.int32), 3),
        "time_s": np.tile(np.arange(40) / 25.0, 3),
        "gold_arousal": pa.array(np.cumsum(rng.normal(size=120)), pa.float32()),
        "gold_valence": pa.nulls(120),
        "prediction_arousal": pa.array(rng.normal(size=120), pa.float32()),
        "prediction_valence": pa.nulls(120),
    }
    metadata = {"trial": json.dumps(row_of(trial, None)), "search": json.dumps({"methods": methods})}
    table = pa.table(columns).select(PREDICTIONS.names).cast(PREDICTIONS)
    write_part(folder, "predictions", key, table, metadata=metadata)


def finish(folder, trial, methods=("greedy",)):
    write_trained(folder, trial, methods)
    search_trial(folder, trial.key)


def everything(folder):
    """Every file, with the time of its last change."""
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.path.rglob("*") if p.is_file()}


def rows(folder, table, key):
    found = read_table(folder, table, keys=[key]).to_pylist()
    return [{name: value for name, value in row.items() if name not in ("sweep", "reused_from")} for row in found]
