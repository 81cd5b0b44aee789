"""Plans of sweeps on a corpus or a stand-in, in a folder that need not exist."""

from pathlib import Path

from ser_ray.results import SweepFolder
from ser_ray.sweep.planning import plan
from ser_ray.sweep.planning.explore import TrialFactory


def factory(config, corpus, path=Path("no/such/folder")):
    return TrialFactory(corpus, config.name, SweepFolder(path))


def make_plan(config, corpus, path=Path("no/such/folder")):
    return plan.make_plan(config, factory(config, corpus, path))
