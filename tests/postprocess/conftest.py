"""Devel partitions whose best chain is known in kind: delayed, attenuated, biased, noisy."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d


@pytest.fixture(scope="session")
def delayed_devel():
    """Five recordings of 400 frames; predictions run 7 frames ahead, at half the size, 0.3 too high, with noise."""
    rng = np.random.default_rng(0)
    predictions, gold = [], []
    for _ in range(5):
        true = gaussian_filter1d(rng.standard_normal(407), 8)
        gold.append(true[:400])
        predictions.append(0.5 * true[7:] + 0.3 + 0.05 * rng.standard_normal(400))
    return predictions, gold
