"""Small data in the layout `table`, and a small corpus."""

from pathlib import Path

import numpy as np
import pytest
from corpus_cases import TableSource, noise

from ser_ray.corpus import CorpusWriter


@pytest.fixture
def table_source(tmp_path: Path) -> TableSource:
    source = TableSource(tmp_path / "source")
    source.write()
    return source


@pytest.fixture
def small_corpus(tmp_path: Path) -> Path:
    """Three recordings of 50 frames; that for test has no gold."""
    rng = np.random.default_rng(3)
    out = tmp_path / "small"
    with CorpusWriter(out, name="small", label_rate=25.0, targets=("arousal", "valence"), notice="mine") as writer:
        for number, partition in enumerate(("train", "devel", "test")):
            gold = None if partition == "test" else rng.uniform(-1, 1, (50, 2)).astype(np.float32)
            ratings = {"arousal": {"R1": rng.uniform(-1, 1, 50), "R2": rng.uniform(-1, 1, 50)}} if number == 0 else None
            writer.add(
                f"{partition}_1",
                partition,
                f"S{number}",
                noise(32000, number),
                gold,
                ratings=ratings,
                extra={"sex": "f"},
            )
    return out
