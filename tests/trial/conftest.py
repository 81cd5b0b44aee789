"""Trials on the tiny corpus and on copies of it with less gold; predictions written by hand."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ser_ray.corpus import Corpus, CorpusWriter, open_corpus
from ser_ray.results import PREDICTIONS, SweepFolder, write_part


@pytest.fixture
def without_gold(tiny_corpus: Corpus, tmp_path: Path) -> Callable[..., Corpus]:
    """Returns a copy of the tiny corpus in which some recordings have no gold."""

    def make(unlabelled: Iterable[str]) -> Corpus:
        out = tmp_path / "less gold"
        with CorpusWriter(out, name="less", label_rate=tiny_corpus.label_rate, targets=tiny_corpus.targets) as writer:
            for partition in ("train", "devel", "test"):
                for recording in tiny_corpus.recordings(partition):
                    gold = None if recording.name in unlabelled else tiny_corpus.gold(recording)
                    writer.add(recording.name, partition, recording.speaker, tiny_corpus.audio(recording), gold)
        return open_corpus(out)

    return make


@pytest.fixture
def put_predictions(folder: SweepFolder) -> Callable[..., None]:
    """Writes the predictions of a trial as training leaves them: [frames] per recording and target."""

    def put(
        key: str,
        recordings: dict[tuple[str, str], dict[str, tuple[np.ndarray, np.ndarray | None]]],
        *,
        label_rate: float = 25.0,
        methods: tuple[str, ...] = ("greedy", "exhaustive"),
        search: Mapping[str, Any] | None = None,
        **row: Any,
    ) -> None:
        targets = list(next(iter(recordings.values())))
        tables = []
        for (name, partition), pairs in recordings.items():
            frames = len(next(iter(pairs.values()))[0])
            columns: dict[str, Any] = {
                "recording": [name] * frames,
                "partition": [partition] * frames,
                "frame": np.arange(frames, dtype=np.int32),
                "time_s": np.arange(frames) / label_rate,
            }
            for target in ("arousal", "valence"):
                prediction, gold = pairs.get(target, (None, None))
                for kind, values in (("gold", gold), ("prediction", prediction)):
                    column = pa.nulls(frames, pa.float32()) if values is None else pa.array(values, pa.float32())
                    columns[f"{kind}_{target}"] = column
            tables.append(pa.table(columns).select(PREDICTIONS.names).cast(PREDICTIONS))
        metadata = {
            "trial": json.dumps({"key": key, "targets": targets, **row}),
            "search": json.dumps({"methods": methods, **(search or {})}),
        }
        write_part(folder, "predictions", key, pa.concat_tables(tables), metadata=metadata)

    return put
