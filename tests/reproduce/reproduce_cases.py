"""Trials that are trained without Ray, and the command on them."""

import pytest
import torch

from ser_ray import cli
from ser_ray.errors import InputError
from ser_ray.reproduce import command as reproduce
from ser_ray.results import make_table, read_table, write_part
from ser_ray.trial import search_trial, train_trial, write_unfinished

CPU = torch.device("cpu")


class StoppedError(Exception):
    """Stands for the schedule, which ends a trial after some epoch."""


def train(trial, *, stop_after=None, backend="auto"):
    def on_epoch(report):
        if report.epoch == stop_after:
            raise StoppedError

    try:
        train_trial(trial, CPU, on_epoch, backend=backend)
    except StoppedError:
        write_unfinished(trial, "stopped", None)
    else:
        search_trial(trial.folder, trial.key)


def program(folder, text):
    """Write a program to stand for the Python that would run a sweep; return its path."""
    path = folder / "program"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def run(folder, key, *options):
    return cli.main(["reproduce", str(folder.path), key, *options])


def put_row(folder, key, **columns):
    """Change a row that stands."""
    (row,) = read_table(folder, "trials", keys=[key]).to_pylist()
    write_part(folder, "trials", key, make_table("trials", [{**row, **columns}]))


def wrong(folder, key, *options):
    with pytest.raises(InputError) as raised:
        reproduce.main([str(folder.path), key, *options])
    return str(raised.value)
