"""A plan in words: what is planned, each trial in a line, and how long it will take."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from ser_ray.corpus import Corpus
from ser_ray.report.terminal import natural_width, open_console
from ser_ray.results import SweepFolder
from ser_ray.sweep.plan import Plan, PlannedTrial
from ser_ray.sweep.standing import read_standing
from ser_ray.trial import Trial


def labels(plan: Plan) -> dict[str, str]:
    """Return what distinguishes each trial in its sweep.

    Args:
        plan: the plan.

    Returns:
        Key -> text such as "kernels 8-6-6 pools 10-8-8, sequence_s 20, seed 0".
    """
    return {trial.key: _label(trial) for trial in plan.trials}


def _label(trial: PlannedTrial) -> str:
    model = trial.config.model
    design = f"kernels {_sizes(model.kernels)} pools {_sizes(model.pools)}"
    others = [
        f"{path.split('.')[-1]} {_plain(value)}"
        for path, value in trial.explored
        if path not in ("model.kernels", "model.pools", "training.seed")
    ]
    return ", ".join([design, *others, f"seed {trial.seed}"])


def describe_plan(plan: Plan, corpus: Corpus, folder: SweepFolder) -> str:
    """Return what a plan comes to, in a few lines.

    Args:
        plan: the plan.
        corpus: what it runs on.
        folder: where its results go.

    Returns:
        The text.
    """
    recordings = {partition: len(corpus.recordings(partition)) for partition in ("train", "devel", "test")}
    parts = ", ".join(f"{count} {partition}" for partition, count in recordings.items())
    extra = f"; {plan.collapsed} equal ones are planned once" if plan.collapsed else ""
    extra += f"; {plan.left_out} configurations are left out" if plan.left_out else ""
    return (
        f"sweep {plan.sweep.name}: {len(plan.trials)} trials ({plan.configurations} configurations "
        f"x {plan.sweep.replicates} seeds{extra}) -> {folder.path}\n"
        f"corpus {corpus.name}: {parts} recordings, {', '.join(corpus.targets)} at {corpus.label_rate:g} Hz"
    )


def list_trials(plan: Plan, trials: Sequence[Trial], folder: SweepFolder, cache: Path) -> None:
    """Print every trial of a plan in a line, with what stands of it and its hours, and the sum.

    Args:
        plan: the plan.
        trials: its trials, in the same order.
        folder: the sweep's folder.
        cache: where measured steps are kept.
    """
    from ser_ray.sweep.estimate import estimate_hours

    hours = estimate_hours(trials, cache)
    standing = read_standing(folder, trials)
    states = {
        **dict.fromkeys((trial.key for trial in standing.to_search), "to search"),
        **dict.fromkeys(standing.finished, "done"),
        **dict.fromkeys(standing.stopped, "stopped"),
        **dict.fromkeys(standing.failed, "failed"),
    }
    rows = [
        (planned, estimate, states.get(planned.key, "to do"))
        for planned, estimate in zip(plan.trials, hours, strict=True)
    ]
    console = open_console()
    table = _wide_table(rows)
    width = natural_width(console, table)
    if not console.is_terminal:
        console.width = max(width, console.width)
    elif width > console.width:
        table = _narrow_table(rows)
    console.print(table)
    open_hours = [estimate for planned, estimate, _ in rows if planned.key not in states]
    print(
        f"{len(open_hours)} to do, at most {sum(open_hours):.3g} hours one after the other on one device of this host "
        "(a step measured once per design; patience and early stopping shorten it)"
    )


def _wide_table(rows: Sequence[tuple[PlannedTrial, float, str]]) -> Table:
    table = Table(box=None, padding=(0, 1))
    for column in ("key", "kernels", "pools", "overlap ratios"):
        table.add_column(column, no_wrap=True)
    for column in ("parameters", "field ms", "sequence s", "seed", "hours"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("also varied", overflow="fold")
    table.add_column("state", no_wrap=True)
    for planned, estimate, state in rows:
        table.add_row(*_row(planned, estimate), state)
    return table


def _narrow_table(rows: Sequence[tuple[PlannedTrial, float, str]]) -> Table:
    table = Table(box=None, padding=(0, 1))
    table.add_column("key", no_wrap=True)
    table.add_column("trial", overflow="fold")
    table.add_column("hours", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for planned, estimate, state in rows:
        table.add_row(planned.key, _label(planned), f"{estimate:.3g}", state)
    return table


def _row(planned: PlannedTrial, hours: float) -> list[str]:
    model, training = planned.config.model, planned.config.training
    shown = ("model.kernels", "model.pools", "training.sequence_s", "training.seed")
    varied = [f"{path} {_plain(value)}" for path, value in planned.explored if path not in shown]
    return [
        planned.key,
        _sizes(model.kernels),
        _sizes(model.pools),
        " ".join(f"{ratio:.2f}" for ratio in model.overlap_ratios),
        f"{planned.parameters:,}",
        f"{planned.receptive_field_ms:.1f}",
        f"{training.sequence_s:g}",
        str(planned.seed),
        f"{hours:.3g}",
        ", ".join(varied),
    ]


def _sizes(sizes: Sequence[int]) -> str:
    return "-".join(map(str, sizes))


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(dict(value))
    if isinstance(value, (tuple, list)):
        return "-".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
