"""Format the lines of a trial's log, and split the log at the trial's starts."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ser_ray.trial.config import Trial

if TYPE_CHECKING:
    from ser_ray.training.state import EpochReport


def opening(trial: Trial, place: str) -> str:
    """Format the log lines of a trial's start: one with the place, then the configuration as YAML."""
    lines = [f"trial {trial.key} on {place}"]
    for section, fields in dataclasses.asdict(trial.config).items():
        lines.append(f"  {section}:")
        lines += [f"    {name}: {json.dumps(value)}" for name, value in fields.items()]
    return "\n".join(lines)


def epoch_line(report: "EpochReport", epochs: int) -> str:
    """Format the log line of an epoch, of at most `epochs`."""
    scores = ", ".join(f"{target} {value:.3f}" for target, value in report.devel.pooled.items())
    seconds, best = report.train_seconds + report.evaluate_seconds, " (best so far)" if report.best else ""
    return (
        f"{report.ended_at:%Y-%m-%d %H:%M:%S} UTC  epoch {report.epoch}/{epochs}  loss {report.train_loss:.4f}  "
        f"devel CCC {scores}{best}  {seconds:.1f} s"
    )


def starts(log: Path) -> list[str]:
    """Split a log into the texts of its trial's starts, in order; none if there is no log."""
    if not log.exists():
        return []
    mark = f"trial {log.stem} on "
    text = "\n" + log.read_text(encoding="utf-8", errors="replace")
    return [mark + part for part in text.split("\n" + mark)[1:]]
