"""Data that takes several shards."""

import numpy as np
import pytest
from corpus_cases import TableSource
from partial_cases import NAMES

from ser_ray.corpus.store import writer


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Six recordings, of which two fill a shard."""
    monkeypatch.setattr(writer, "SHARD_BYTES", 160_000)
    source = TableSource(tmp_path / "source", partitions=dict(NAMES))
    source.write()
    times = np.arange(51) / 25
    for number, name in enumerate(NAMES):
        traces = np.random.default_rng(number).uniform(-1, 1, (2, 51))
        source.raters(name, times, arousal_R1=traces[0], arousal_R2=traces[1])
    return source
