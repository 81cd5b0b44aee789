"""Show a plan as text: a summary, a line for each trial, and the hours that it will take."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from ser_ray.errors import InputError
from ser_ray.gpus.usable import UsableGpus, only_visible, usable_gpus
from ser_ray.plain_text import counted
from ser_ray.report.terminal import natural_width, open_console
from ser_ray.sweep.planning.measured import sweeps_beside
from ser_ray.sweep.planning.plan import Plan
from ser_ray.sweep.planning.reuse import reusable
from ser_ray.sweep.planning.states import read_states
from ser_ray.sweep.spec.items import DESIGN_FIELDS
from ser_ray.trial import Trial

if TYPE_CHECKING:
    from ser_ray.sweep.planning.hours import DeviceHours

MOST_SHOWN = 200
SHOWN_AT_ENDS = 30
"""Number of the first and of the last trials shown of a plan with more than MOST_SHOWN."""

Row = tuple[Trial, float, str]
"""A trial, its hours, and its state."""


def label_of(trial: Trial) -> str:
    """Label a trial by its differences in the sweep, such as "kernels 8-6-6 pools 10-8-8, sequence_s 20, seed 0"."""
    model = trial.config.model
    parts = [f"filterbank {model.width_ms:g}/{model.hop_ms:g} ms"] if model.front_end == "filterbank" else []
    parts += [f"kernels {_plain(model.kernels)} pools {_plain(model.pools)}"] if model.kernels else []
    others = [
        f"{path.split('.')[-1]} {_plain(value)}"
        for path, value in trial.explored
        if path not in (*DESIGN_FIELDS, "training.seed")
    ]
    return ", ".join([" ".join(parts), *others, f"seed {trial.config.training.seed}"])


def describe_plan(plan: Plan, shown: Path) -> str:
    """Summarise a plan in a few lines; `shown` is its folder as the user named it."""
    corpus = plan.corpus
    recordings = {partition: len(corpus.recordings(partition)) for partition in ("train", "devel", "test")}
    parts = ", ".join(f"{count} {partition}" for partition, count in recordings.items())
    extra = f"; {counted(plan.collapsed, 'duplicate')} left out" if plan.collapsed else ""
    if plan.left_out:
        extra += f"; {counted(plan.left_out, 'configuration')} left out by schedule.max_configurations"
    proposed = f" and {counted(plan.to_propose, 'trial')} still to be proposed" if plan.to_propose else ""
    notes = "".join(f"\n{note}" for note in plan.notes)
    return (
        f"sweep {plan.config.name}: {counted(len(plan.trials), 'trial')} ("
        f"{counted(plan.configurations, 'configuration')} x {counted(plan.config.replicates, 'seed')}{extra})"
        f"{proposed} -> {shown}\n"
        f"corpus {corpus.name}: {parts} recordings, {', '.join(corpus.targets)} at {corpus.label_rate:g} Hz{notes}"
    )


def list_trials(plan: Plan, steps_dir: Path, *, everything: bool = False) -> None:
    """Print the trials of a plan, each in a line with its state and hours, and the sum of hours for each device.

    Args:
        plan: whose trials are listed.
        steps_dir: cache of measured steps.
        everything: show every trial also of a plan with more than MOST_SHOWN.

    Raises:
        InputError: if a part of this sweep or of a source sweep cannot be read.
    """
    from ser_ray.sweep.planning.hours import forecast

    resources, trials = plan.config.resources, plan.trials
    states = _states(plan)
    to_do = {trial.key for trial in trials} - set(states)
    measured = [*sweeps_beside(plan.folder), *plan.source_sweeps]
    with only_visible(_usable_gpus() if to_do and resources.gpus else UsableGpus(())):
        found = forecast(trials, to_do, measured, steps_dir, resources.backend, gpus=resources.gpus)
    rows = [(trial, hours, states.get(trial.key, "to do")) for trial, hours in zip(trials, found.hours, strict=True)]
    if everything or len(rows) <= MOST_SHOWN:
        _print_rows(rows)
    else:
        _print_rows([*rows[:SHOWN_AT_ENDS], None, *rows[-SHOWN_AT_ENDS:]])
        left_out = len(rows) - 2 * SHOWN_AT_ENDS
        print(f"{left_out} of {counted(len(rows), 'trial')} are omitted at the dots (--all shows them)")
    if not to_do:
        print("no trial is to be trained")
        return
    print(f"{len(to_do)} to do, on one device at most (patience and early stopping shorten it):")
    _print_devices(found.devices)


def _usable_gpus() -> UsableGpus:
    """Find the GPUs that a run here would use; print why others are not used, as the run does."""
    try:
        found = usable_gpus()
    except InputError as error:  # a run would refuse to begin; the hours are those of a CPU
        print(f"GPU       not used: {error}")
        return UsableGpus((), all_visible=False)
    for unusable in found.unusable:
        print(f"GPU       not used: {unusable}")
    return found


def _states(plan: Plan) -> dict[str, str]:
    """Return key -> state of the trials that need no training."""
    states = read_states(plan.folder, plan.trials)
    return {
        **dict.fromkeys(reusable(plan.folder, plan.trials, plan.source_sweeps), "reuse"),
        **dict.fromkeys((trial.key for trial in states.to_search), "to search"),
        **dict.fromkeys(states.finished, "done"),
        **dict.fromkeys(states.stopped, "stopped"),
        **dict.fromkeys(states.failed, "failed"),
    }


def _print_rows(rows: Sequence[Row | None]) -> None:
    console = open_console()
    table = _wide_table(rows)
    width = natural_width(console, table)
    if not console.is_terminal:
        console.width = max(width, console.width)
    elif width > console.width:
        table = _narrow_table(rows)
    console.print(table)


def _print_devices(devices: "Sequence[DeviceHours]") -> None:
    console = open_console()
    table = Table(box=None, padding=(0, 1))
    table.add_column("device", overflow="fold")
    table.add_column("measured trials", justify="right")
    table.add_column("at once", justify="right")
    table.add_column("hours", justify="right", no_wrap=True)
    for device in devices:
        measured = str(device.measured or "a step")
        table.add_row(device.device, measured, str(device.at_once), f"{device.hours:.3g}")
    console.print(table)


def _wide_table(rows: Sequence[Row | None]) -> Table:
    table = Table(box=None, padding=(0, 1))
    for column in ("key", "kernels", "pools", "overlap ratios"):
        table.add_column(column, no_wrap=True)
    for column in ("parameters", "field ms", "sequence s", "seed", "hours"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("also varied", overflow="fold")
    table.add_column("state", no_wrap=True)
    for row in rows:
        table.add_row(*(["..."] if row is None else [*_row(row[0], row[1]), row[2]]))
    return table


def _narrow_table(rows: Sequence[Row | None]) -> Table:
    table = Table(box=None, padding=(0, 1))
    table.add_column("key", no_wrap=True)
    table.add_column("trial", overflow="fold")
    table.add_column("hours", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for row in rows:
        table.add_row(*(["..."] if row is None else [row[0].key, label_of(row[0]), f"{row[1]:.3g}", row[2]]))
    return table


def _row(trial: Trial, hours: float) -> list[str]:
    model, training = trial.config.model, trial.config.training
    shown = ("model.kernels", "model.pools", "training.sequence_s", "training.seed")
    varied = [f"{path} {_plain(value)}" for path, value in trial.explored if path not in shown]
    return [
        trial.key,
        _plain(model.kernels),
        _plain(model.pools),
        " ".join(f"{ratio:.2f}" for ratio in model.overlap_ratios),
        f"{model.parameters:,}",
        f"{trial.receptive_field_ms:.1f}",
        f"{training.sequence_s:g}",
        str(training.seed),
        f"{hours:.3g}",
        ", ".join(varied),
    ]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(dict(value))
    if isinstance(value, (tuple, list)):
        return "-".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
