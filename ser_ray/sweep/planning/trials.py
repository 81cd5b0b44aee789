"""Create the trials of a sweep from explored configurations, the same way for grids, draws and proposals."""

import dataclasses
from dataclasses import dataclass

from ser_ray.corpus import Corpus
from ser_ray.results import SweepFolder
from ser_ray.sweep.planning.explore import Configuration
from ser_ray.trial import Trial, trial_key


@dataclass(frozen=True)
class TrialFactory:
    """Creates the trials of a sweep, from what they all share.

    Args:
        corpus: what they train on.
        sweep: name of the sweep.
        folder: of its results, absolute, since trials run in other processes.
        git_commit: of the code, if known.
        git_diff: name of the code's uncommitted changes, if any are stored.
    """

    corpus: Corpus
    sweep: str
    folder: SweepFolder
    git_commit: str | None = None
    git_diff: str | None = None

    def trial(self, configuration: Configuration, replicate: int = 0) -> Trial:
        """Create a configuration's trial; `replicate` is the number of its seed, from 0."""
        config = configuration.trial
        if replicate:
            training = dataclasses.replace(config.training, seed=config.training.seed + replicate)
            config = dataclasses.replace(config, training=training)
        return Trial(
            key=trial_key(config, self.corpus.fingerprint),
            config=config,
            corpus=self.corpus,
            sweep=self.sweep,
            folder=self.folder,
            explored=tuple((setting.path, setting.value) for setting in configuration.settings),
            git_commit=self.git_commit,
            git_diff=self.git_diff,
        )
