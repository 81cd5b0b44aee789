"""What of a plan stands already, read from the sweep's folder alone, and which checkpoints a trial may go on from."""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ser_ray.results import SweepFolder, read_table
from ser_ray.trial import Trial, keyed_config


@dataclass(frozen=True)
class Standing:
    """The trials of a plan, by what has become of them.

    Args:
        finished: keys of trials whose result stands.
        stopped: keys of trials that the schedule ended early.
        failed: key -> reason.
        to_search: trials that are trained and not yet searched.
        to_train: the others.
    """

    finished: frozenset[str]
    stopped: frozenset[str]
    failed: dict[str, str]
    to_search: tuple[Trial, ...]
    to_train: tuple[Trial, ...]


def read_standing(folder: SweepFolder, trials: Sequence[Trial]) -> Standing:
    """Return what of a plan stands.

    Args:
        folder: the sweep's folder; it need not exist yet.
        trials: the plan's trials.

    Returns:
        The standing.

    Raises:
        InputError: if a part cannot be read.
    """
    columns = ["key", "status", "error"]
    rows = read_table(folder, "trials", keys=[trial.key for trial in trials], columns=columns).to_pylist()
    status = {row["key"]: row["status"] for row in rows}
    trained = folder.keys("predictions")
    open_trials = [trial for trial in trials if trial.key not in status]
    return Standing(
        finished=frozenset(key for key, value in status.items() if value == "finished"),
        stopped=frozenset(key for key, value in status.items() if value == "stopped"),
        failed={row["key"]: row["error"] for row in rows if row["status"] == "failed"},
        to_search=tuple(trial for trial in open_trials if trial.key in trained),
        to_train=tuple(trial for trial in open_trials if trial.key not in trained),
    )


def forget_failed(folder: SweepFolder, keys: Iterable[str]) -> None:
    """Remove the rows of failed trials, so that these are run again.

    Checkpoints stay: a trial that failed for want of memory or disk goes on from its last epoch, and one that diverged
    would do so again from the start as well.

    Args:
        folder: the sweep's folder.
        keys: of the failed trials.
    """
    for key in keys:
        folder.part("trials", key).unlink(missing_ok=True)


def adopt_checkpoints(folder: SweepFolder, trials: Sequence[Trial]) -> dict[str, str]:
    """Give each trial without a checkpoint the one of a finished trial that differs from it by fewer epochs alone.

    Args:
        folder: the sweep's folder.
        trials: trials that are to be trained.

    Returns:
        Key -> key of the trial that it goes on from.
    """
    rows = read_table(folder, "trials", columns=["key", "status", "max_epochs", "config"]).to_pylist()
    donors: dict[str, list[tuple[int, str]]] = {}
    for row in rows:
        if row["status"] == "finished" and (folder.checkpoints(row["key"]) / "last.pt").exists():
            donors.setdefault(_without_epochs(json.loads(row["config"])), []).append((row["max_epochs"], row["key"]))
    adopted = {}
    for trial in trials:
        target = folder.checkpoints(trial.key)
        config = json.loads(json.dumps(keyed_config(trial.config, trial.corpus.fingerprint)))
        shorter = [d for d in donors.get(_without_epochs(config), []) if d[0] < trial.config.training.epochs]
        if shorter and not (target / "last.pt").exists():
            _, donor = max(shorter)
            _copy_folder(folder, donor, trial.key)
            adopted[trial.key] = donor
    return adopted


def _without_epochs(config: dict[str, Any]) -> str:
    training = {name: value for name, value in config["training"].items() if name != "epochs"}
    return json.dumps({**config, "training": training}, sort_keys=True)


def _copy_folder(folder: SweepFolder, donor: str, key: str) -> None:
    target, temporary = folder.checkpoints(key), folder.tmp / f"checkpoints-{key}"
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)  # a folder without last.pt holds nothing to go on from
    shutil.copytree(folder.checkpoints(donor), temporary)
    temporary.rename(target)
