"""The second half of a trial: search its post-processing on devel, score both partitions, write its row."""

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ser_ray import postprocess, results
from ser_ray.metrics import ccc_per_recording, ccc_pooled
from ser_ray.postprocess.config import SearchConfig
from ser_ray.results import STAGES, SweepFolder, ccc_column
from ser_ray.trial.rows import SCORED_PARTITIONS


def search_trial(folder: SweepFolder, key: str) -> None:
    """Search the post-processing of a trained trial and write its `postprocessing` part and its row.

    Args:
        folder: the sweep's folder, with the trial's predictions in it.
        key: the trial's key.

    Raises:
        InputError: if the predictions cannot be read.
    """
    begin = time.perf_counter()
    metadata = results.read_metadata(folder.part("predictions", key))
    row = _parse_times(json.loads(metadata["trial"]))
    search = SearchConfig(**json.loads(metadata["search"]))
    traces = _read_traces(folder, key, row["targets"])
    row |= _ccc_columns(traces, "")
    chains: list[dict[str, Any]] = []
    for method in search.methods:
        processed: dict[tuple[str, str], _Traces] = dict(traces)
        for target in row["targets"]:
            chain_row, chain = _search(key, method, target, traces["devel", target])
            chains.append(chain_row)
            for partition in SCORED_PARTITIONS:
                raw = traces[partition, target]
                processed[partition, target] = dataclasses.replace(
                    raw, predictions=postprocess.apply(chain, raw.predictions)
                )
        row |= _ccc_columns(processed, method)
    results.write_part(folder, "postprocessing", key, results.make_table("postprocessing", chains))
    row |= {
        "status": "finished",
        "search_seconds": time.perf_counter() - begin,
        "ended_at": datetime.now(UTC),
    }
    results.write_part(folder, "trials", key, results.make_table("trials", [row]))


@dataclasses.dataclass(frozen=True)
class _Traces:
    """Predictions and gold of one partition and target, an array [frames] per recording labelled throughout."""

    predictions: Sequence[NDArray[np.floating]]
    gold: Sequence[NDArray[np.floating]]
    label_rate: float


def _read_traces(folder: SweepFolder, key: str, targets: Sequence[str]) -> dict[tuple[str, str], _Traces]:
    table = results.read_table(folder, "predictions", keys=[key])
    recordings = np.asarray(table["recording"].to_pylist())
    partitions = np.asarray(table["partition"].to_pylist())
    frames, times = table["frame"].to_numpy(), table["time_s"].to_numpy()
    borders = np.flatnonzero(recordings[1:] != recordings[:-1]) + 1
    slices = [slice(a, b) for a, b in zip([0, *borders], [*borders, len(recordings)], strict=True)]
    last = int(np.argmax(frames))
    label_rate = float(frames[last] / times[last]) if frames[last] else float("nan")
    traces = {}
    for target in targets:
        prediction = table[f"prediction_{target}"].to_numpy()
        gold = table[f"gold_{target}"].to_numpy()
        for partition in SCORED_PARTITIONS:
            here = [s for s in slices if partitions[s.start] == partition and np.isfinite(gold[s]).all()]
            traces[partition, target] = _Traces([prediction[s] for s in here], [gold[s] for s in here], label_rate)
    return traces


def _ccc_columns(traces: Mapping[tuple[str, str], _Traces], stage: str) -> dict[str, float]:
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


def _search(key: str, method: str, target: str, devel: _Traces) -> tuple[dict[str, Any], postprocess.PostProcessing]:
    begin = time.perf_counter()
    search = postprocess.search_greedy if method == "greedy" else postprocess.search_exhaustive
    found = search(devel.predictions, devel.gold)
    chain = found.chain
    return {
        "key": key,
        "target": target,
        "method": method,
        **dataclasses.asdict(chain),
        "median_window_s": chain.median_window / devel.label_rate,
        "shift_s": chain.shift / devel.label_rate,
        "ccc_devel_raw": found.raw_ccc,
        "ccc_devel": found.ccc,
        "gain_median": found.gains.median,
        "gain_centre": found.gains.centre,
        "gain_scale": found.gains.scale,
        "gain_shift": found.gains.shift,
        "seconds": time.perf_counter() - begin,
    }, chain


def _parse_times(row: dict[str, Any]) -> dict[str, Any]:
    return {
        column: datetime.fromisoformat(value) if column in ("started_at", "ended_at") and value else value
        for column, value in row.items()
    }
