"""Take over trials that other sweeps have trained: whole, or as the beginning of a longer training.

A trial's key is the same in all sweeps, so a trial that is finished elsewhere need not be trained again. Tables are
rewritten in the present schema and with this sweep's name. Checkpoints are hard links where the file system supports
them. That is safe since no checkpoint is ever modified: a newer one replaces it.
"""

import json
import os
import secrets
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ser_ray.files import replace_folder
from ser_ray.postprocess.config import SearchConfig
from ser_ray.results import SweepFolder, make_table, read_metadata, read_table, read_trial, write_part
from ser_ray.trial import Trial, keyed_config


def reusable(folder: SweepFolder, trials: Sequence[Trial], sources: Sequence[SweepFolder]) -> dict[str, SweepFolder]:
    """Find the trials that would be taken over: key -> the first source sweep that has finished it.

    Only trials without a row and without predictions of their own in `folder` count; the folder need not exist.

    Raises:
        InputError: if a part of a source sweep cannot be read.
    """
    others = _others(folder, sources)
    if not others:
        return {}
    ended, predictions = folder.keys("trials"), folder.keys("predictions")
    wanted = {
        trial.key: trial
        for trial in trials
        if trial.key not in ended and (trial.key not in predictions or _is_taken_over(folder, trial.key))
    }
    found: dict[str, SweepFolder] = {}
    for source in others:
        rows = read_table(source, "trials", keys=wanted, columns=["key", "status"]).to_pylist()
        finished = {row["key"] for row in rows if row["status"] == "finished"} - set(found)
        searched = searched_with(source, finished)
        trained = source.keys("predictions")
        found |= {key: source for key in finished if key in trained or _covers(searched.get(key), wanted[key])}
    return {trial.key: found[trial.key] for trial in trials if trial.key in found}


def take_over(folder: SweepFolder, trials: Sequence[Trial], sources: Sequence[SweepFolder]) -> dict[str, str]:
    """Take over trials that source sweeps have finished, and return key -> path of the source.

    A trial's row is written last, and only if the source has searched it as requested here; else it is left trained, to
    be searched. After an interruption, the same call takes over the rest. Sources are only read.

    Raises:
        InputError: if a part of a source cannot be read.
        OSError: if the results cannot be written.
    """
    by_key = {trial.key: trial for trial in trials}
    taken = reusable(folder, trials, sources)
    for key, source in taken.items():
        _take(folder, by_key[key], source)
    return {key: str(source.path) for key, source in taken.items()}


def adopt_checkpoints(
    folder: SweepFolder, trials: Sequence[Trial], sources: Sequence[SweepFolder] = ()
) -> dict[str, str]:
    """Give each trial without a checkpoint that of a finished trial that differs only by having fewer epochs.

    The longest is taken; of equally long ones, this sweep's own.

    Returns:
        Key -> the trial that it goes on from: its key, followed by " of DIR" if it is another sweep's.
    """
    shorter: dict[str, list[tuple[int, SweepFolder, str]]] = {}
    for source in (folder, *_others(folder, sources)):
        columns = ["key", "status", "max_epochs", "config"]
        for row in read_table(source, "trials", columns=columns).to_pylist():
            if row["status"] == "finished" and (source.checkpoints(row["key"]) / "last.pt").exists():
                config = _without_epochs(json.loads(row["config"]))
                shorter.setdefault(config, []).append((row["max_epochs"], source, row["key"]))
    adopted = {}
    for trial in trials:
        if any((folder.checkpoints(trial.key) / name).exists() for name in ("last.pt", "previous.pt")):
            continue
        config = _without_epochs(json.loads(json.dumps(keyed_config(trial.config, trial.corpus.fingerprint))))
        fitting = [d for d in shorter.get(config, []) if d[0] < trial.config.training.epochs]
        if fitting:
            _, source, key = max(fitting, key=lambda d: d[0])  # the first of the longest
            _link_folder(folder, source.checkpoints(key), folder.checkpoints(trial.key))
            adopted[trial.key] = key if source is folder else f"{key} of {source.path}"
    return adopted


def _others(folder: SweepFolder, sources: Sequence[SweepFolder]) -> list[SweepFolder]:
    return [source for source in sources if source.path.resolve() != folder.path.resolve()]


def _is_taken_over(folder: SweepFolder, key: str) -> bool:
    """Check whether predictions were taken over, so that only the row was missing when the take-over ended."""
    return read_trial(folder.part("predictions", key)).get("reused_from") is not None


def searched_with(folder: SweepFolder, keys: Collection[str]) -> dict[str, SearchConfig]:
    """Return key -> search settings of the trials that are searched.

    Raises:
        InputError: if a part cannot be read.
    """
    names = [field.name for field in fields(SearchConfig) if field.name != "methods"]
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in read_table(folder, "postprocessing", keys=keys, columns=["key", "method", *names]).to_pylist():
        rows.setdefault(row["key"], []).append(row)
    return {key: SearchConfig.of_rows(own) for key, own in rows.items()}


def _covers(searched: SearchConfig | None, trial: Trial) -> bool:
    return searched is not None and searched.covers(trial.config.search)


def _take(folder: SweepFolder, trial: Trial, source: SweepFolder) -> None:
    key = trial.key
    covered = _covers(searched_with(source, [key]).get(key), trial)
    own = {"sweep": trial.sweep, "reused_from": str(source.path.resolve())}
    for name in ("epochs", "postprocessing") if covered else ("epochs",):
        write_part(folder, name, key, read_table(source, name, keys=[key]))
    if source.checkpoints(key).is_dir():
        _link_folder(folder, source.checkpoints(key), folder.checkpoints(key))
    if key in source.keys("predictions"):
        part = source.part("predictions", key)
        metadata = read_metadata(part) | {"trial": json.dumps({**read_trial(part), **own})}
        if not covered:
            metadata["search"] = json.dumps(asdict(trial.config.search))
        write_part(folder, "predictions", key, read_table(source, "predictions", keys=[key]), metadata=metadata)
    if covered:
        (row,) = read_table(source, "trials", keys=[key]).to_pylist()
        write_part(folder, "trials", key, make_table("trials", [{**row, **own}]))


def _without_epochs(config: Mapping[str, Any]) -> str:
    training = {name: value for name, value in config["training"].items() if name != "epochs"}
    return json.dumps({**config, "training": training}, sort_keys=True)


def _link_folder(folder: SweepFolder, source: Path, target: Path) -> None:
    """Copy a folder of checkpoints to `target`, replacing what may be there."""
    new = folder.tmp / f"checkpoints-{target.name}-{secrets.token_hex(6)}"
    try:
        shutil.copytree(source, new, copy_function=_link_or_copy, ignore=_not_checkpoints)
        replace_folder(new, target)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _not_checkpoints(folder: str, names: Sequence[str]) -> list[str]:
    """List the names to leave out of a copy: incomplete files, files set aside, and what is no file at all."""
    return [name for name in names if name.startswith((".", "damaged-")) or not (Path(folder) / name).is_file()]


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, one without links, or somebody else's file
        shutil.copyfile(source, target)
