"""The second half of a trial: search its post-processing on devel, score both partitions, write its row.

All of it is one call, `search_trial`. For a large devel partition that call returns the search instead: its sums over
the grid may be computed elsewhere, fold by fold, and `finish_search` takes the sums and does the rest.
"""

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ser_ray import postprocess, results
from ser_ray.errors import InputError
from ser_ray.metrics import ccc_per_recording, ccc_pooled
from ser_ray.postprocess.config import SearchConfig, SearchMethod
from ser_ray.postprocess.devel import MAX_FOLDS, Devel
from ser_ray.postprocess.grid import Grid
from ser_ray.postprocess.search import SearchResult, reliability_warning, search_targets
from ser_ray.postprocess.sums import GridSums
from ser_ray.results import STAGES, SweepFolder, ccc_column, crossfit_column
from ser_ray.trial.rows import SCORED_PARTITIONS


@dataclasses.dataclass(frozen=True)
class LabelledTraces:
    """Predictions and gold of one partition and target, an array [frames] per recording labelled throughout."""

    recordings: Sequence[str]
    predictions: Sequence[NDArray[np.floating]]
    gold: Sequence[NDArray[np.floating]]


@dataclasses.dataclass(frozen=True, eq=False)
class DevelSearch:
    """The grid of chains of a trial's search, and the devel traces of each target."""

    grid: Grid
    devel: tuple[Devel, ...]

    @property
    def chunks(self) -> list[tuple[int, int]]:
        """The chunks: (target, fold) for each fold of each target, by number."""
        return [(target, fold) for target, one in enumerate(self.devel) for fold in range(len(one.folds))]

    @property
    def medians(self) -> int:
        """Number of medians that the search takes, to which its time is proportional."""
        return len(self.grid.windows) * sum(sum(one.lengths) for one in self.devel)

    def sums(self, target: int, fold: int) -> GridSums:
        """Compute the sums of one chunk."""
        return self.devel[target].sums(self.grid, fold)

    def all_sums(self) -> list[GridSums]:
        """Compute the sums of all chunks, in their order."""
        return [self.sums(*chunk) for chunk in self.chunks]


@dataclasses.dataclass(frozen=True)
class TrainedTrial:
    """A trained trial, read from its predictions."""

    key: str
    row: Mapping[str, Any]  # the trial's row so far
    config: SearchConfig
    label_rate: float  # frames per second; NaN where no recording has a second frame
    traces: Mapping[tuple[str, str], LabelledTraces]  # of each partition and target

    @property
    def targets(self) -> Sequence[str]:
        """The predicted targets."""
        targets: Sequence[str] = self.row["targets"]
        return targets

    def devel_search(self) -> DevelSearch:
        """Build the grid and the devel traces of its search.

        Raises:
            InputError: if a target has no devel gold, targets that are searched jointly have no recording in common, or
                the grid is too large.
        """
        labelled = [set(self.traces["devel", target].recordings) for target in self.targets]
        common = set.intersection(*labelled)
        devel = []
        for target, own in zip(self.targets, labelled, strict=True):
            traces = self.traces["devel", target]
            used = common if self.config.choice == "joint" else own
            if not used:
                of = " and ".join(self.targets) if own else target
                raise InputError(
                    f"no recording of devel is labelled in all frames for {of}: post-processing is chosen by devel's "
                    "gold standard, so add labels, or train on other targets (trial.model.targets)"
                )
            places = [place for place, recording in enumerate(traces.recordings) if recording in used]
            predictions, gold = ([values[p] for p in places] for values in (traces.predictions, traces.gold))
            devel.append(Devel.of(predictions, gold, MAX_FOLDS))
        longest = max(max(one.lengths) for one in devel)
        return DevelSearch(self.config.grid(self.label_rate, longest), tuple(devel))


def search_trial(
    folder: SweepFolder, key: str, config: SearchConfig | None = None, *, large_medians: float = math.inf
) -> DevelSearch | None:
    """Search the post-processing of a trained trial from its predictions; write its `postprocessing` part and row.

    `config` defaults to the settings requested when the trial was trained. A search that takes more than
    `large_medians` medians is returned instead, for `finish_search` once its chunks are summed.

    Raises:
        InputError: if the predictions cannot be read, are NaN or infinite somewhere, or have no devel gold.
    """
    begin = time.time()
    trained = read_trained(folder, key, config)
    search = trained.devel_search()
    if search.medians > large_medians:
        return search
    finish_search(folder, trained, search, search.all_sums(), begin)
    return None


def read_trained(folder: SweepFolder, key: str, config: SearchConfig | None = None) -> TrainedTrial:
    """Read a trained trial, to be searched with `config` or the settings requested when it was trained.

    Raises:
        InputError: if the predictions cannot be read, are empty, are NaN or infinite somewhere, or do not name their
            trial and search.
    """
    part = folder.part("predictions", key)
    metadata = results.read_metadata(part)
    try:
        row = _parse_times(json.loads(metadata["trial"]))
        requested = config or SearchConfig(**json.loads(metadata["search"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # pydantic's and json's errors are ValueErrors
        raise InputError(
            f"{part} does not say, as a training writes it, what trial and search it belongs to "
            f"({' '.join(str(error).split())[:200]}); delete it and run the sweep again to train the trial anew"
        ) from error
    table = results.read_table(folder, "predictions", keys=[key])
    if not len(table):
        raise InputError(f"{part} holds no frame; delete it and run the sweep again to train the trial anew")
    frames, times = table["frame"].to_numpy(), table["time_s"].to_numpy()
    # as the training stored it: a rate derived from times gives shifts such as 9.999999999999998 s
    label_rate = float(metadata["label_rate"]) if "label_rate" in metadata else _label_rate(frames, times)
    return TrainedTrial(key, row, requested, label_rate, _traces(table, row["targets"], folder, key))


def finish_search(
    folder: SweepFolder, trained: TrainedTrial, search: DevelSearch, sums: Sequence[GridSums], begin: float
) -> None:
    """Choose the chains of a trial, score both partitions, and write its `postprocessing` part and its row.

    `sums` are those of the search's chunks, in their order; `begin` is when the search began, by time.time.
    """
    config, targets, row = trained.config, trained.targets, dict(trained.row)
    by_target = [
        [found for found, (target, _) in zip(sums, search.chunks, strict=True) if target == number]
        for number in range(len(targets))
    ]
    joint = config.choice == "joint"
    found = search_targets(search.devel, by_target, search.grid, config.methods, joint=joint)
    row |= _ccc_columns(trained.traces, "")
    for method in config.methods:
        processed = dict(trained.traces)
        for target, result in zip(targets, found[method], strict=True):
            for partition in SCORED_PARTITIONS:
                raw = trained.traces[partition, target]
                applied = postprocess.apply(result.chain, raw.predictions)
                processed[partition, target] = dataclasses.replace(raw, predictions=applied)
        row |= _ccc_columns(processed, method) | _crossfit_columns(
            method, dict(zip(targets, found[method], strict=True))
        )
    seconds = time.time() - begin
    share = seconds / (len(targets) * len(config.methods))
    chains = [
        _chain_row(trained, search.grid, method, target, len(devel.lengths), result, share)
        for method in config.methods
        for target, devel, result in zip(targets, search.devel, found[method], strict=True)
    ]
    # the row of an earlier search is removed first: chains and figures of two searches are never there together
    folder.part("trials", trained.key).unlink(missing_ok=True)
    results.write_part(folder, "postprocessing", trained.key, results.make_table("postprocessing", chains))
    row |= {"status": "finished", "search_seconds": seconds, "ended_at": datetime.now(UTC)}
    results.write_part(folder, "trials", trained.key, results.make_table("trials", [row]))


def _traces(
    table: pa.Table, targets: Sequence[str], folder: SweepFolder, key: str
) -> dict[tuple[str, str], LabelledTraces]:
    recordings = np.asarray(table["recording"].to_pylist())
    partitions = np.asarray(table["partition"].to_pylist())
    borders = np.flatnonzero(recordings[1:] != recordings[:-1]) + 1
    slices = [slice(a, b) for a, b in zip([0, *borders], [*borders, len(recordings)], strict=True)]
    traces = {}
    for target in targets:
        prediction = table[f"prediction_{target}"].to_numpy()
        gold = table[f"gold_{target}"].to_numpy()
        for here in slices:
            bad = int(np.count_nonzero(~np.isfinite(prediction[here])))
            if bad:
                raise InputError(
                    f"{folder.part('predictions', key)}: the {target} predictions of recording "
                    f"{recordings[here.start]} are NaN or infinite in {bad} of {here.stop - here.start} frames: the "
                    "network has gone astray; train it again with a lower learning rate"
                )
        for partition in SCORED_PARTITIONS:
            labelled = [s for s in slices if partitions[s.start] == partition and np.isfinite(gold[s]).all()]
            traces[partition, target] = LabelledTraces(
                [str(recordings[s.start]) for s in labelled],
                [prediction[s] for s in labelled],
                [gold[s] for s in labelled],
            )
    return traces


def _ccc_columns(traces: Mapping[tuple[str, str], LabelledTraces], stage: str) -> dict[str, float]:
    assert stage in STAGES
    columns: dict[str, float] = {}
    for partition in SCORED_PARTITIONS:
        for per_recording, ccc in ((False, ccc_pooled), (True, ccc_per_recording)):
            scores = {
                target: ccc(pair.predictions, pair.gold) for (part, target), pair in traces.items() if part == partition
            }
            scores["mean"] = float(np.mean(list(scores.values())))
            for target, value in scores.items():
                columns[ccc_column(partition, target, stage=stage, per_recording=per_recording)] = value
    return columns


def _crossfit_columns(method: SearchMethod, found: Mapping[str, SearchResult]) -> dict[str, float]:
    scores = {target: result.crossfit_ccc for target, result in found.items()}
    scores["mean"] = float(np.mean(list(scores.values())))
    return {crossfit_column(method, target): value for target, value in scores.items()}


def _chain_row(
    trained: TrainedTrial,
    grid: Grid,
    method: SearchMethod,
    target: str,
    recordings: int,
    found: SearchResult,
    seconds: float,
) -> dict[str, Any]:
    chain, config, label_rate = found.chain, trained.config, trained.label_rate
    return {
        "key": trained.key,
        "target": target,
        "method": method,
        "choice": config.choice,
        "max_window_s": config.max_window_s,
        "max_shift_s": config.max_shift_s,
        "forward_only": config.forward_only,
        **dataclasses.asdict(chain),
        "median_window_s": chain.median_window / label_rate,
        "shift_s": chain.shift / label_rate,
        "ccc_devel_raw": found.raw_ccc,
        "ccc_devel": found.ccc,
        "ccc_devel_crossfit": found.crossfit_ccc,
        "folds": found.folds,
        "recordings": recordings,
        "at_edge": grid.edges_met(chain.median_window, chain.shift),
        "doubt": reliability_warning(found, recordings),
        "gain_median": found.gains.median,
        "gain_centre": found.gains.centre,
        "gain_scale": found.gains.scale,
        "gain_shift": found.gains.shift,
        "seconds": seconds,
    }


def _label_rate(frames: NDArray[np.int32], times: NDArray[np.float64]) -> float:
    """Derive the frames per second from times of predictions; NaN where no recording has a second frame."""
    last = int(np.argmax(frames))
    # frame / rate was rounded once: twelve digits recover any rate that anybody writes down
    return float(f"{frames[last] / times[last]:.12g}") if frames[last] else math.nan


def _parse_times(row: dict[str, Any]) -> dict[str, Any]:
    return {
        column: datetime.fromisoformat(value) if column in ("started_at", "ended_at") and value else value
        for column, value in row.items()
    }
