"""One trial, from its configuration to its rows of results, independent of what runs it.

A trial has two halves. `train_trial` trains the network and writes the raw predictions of its best epoch, with the
figures so far in their metadata. `search_trial` needs only that part: it searches the post-processing and writes the
trial's row last. So predictions without a row mean "trained, search it". All but the configuration is imported on first
use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ser_ray.trial.config import TRIAL_VERSION, Trial, TrialConfig, keyed_config, trial_key

if TYPE_CHECKING:
    from ser_ray.trial.rows import write_unfinished
    from ser_ray.trial.search import search_trial
    from ser_ray.trial.train import train_trial

__all__ = [
    "TRIAL_VERSION",
    "Trial",
    "TrialConfig",
    "keyed_config",
    "search_trial",
    "train_trial",
    "trial_key",
    "write_unfinished",
]


def __getattr__(name: str) -> Any:
    """Import the halves of a trial on first use."""
    module = {"train_trial": "train", "search_trial": "search", "write_unfinished": "rows"}.get(name)
    if module is not None:
        return getattr(importlib.import_module(f"ser_ray.trial.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
