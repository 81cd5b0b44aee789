"""What a trial's own log tells of its starts."""

from pathlib import Path

from ser_ray.trial.config import Trial


def opening(trial: Trial, place: str) -> str:
    """Return the line that a trial's log has for each start.

    Args:
        trial: the trial.
        place: the device.
    """
    return f"trial {trial.key} on {place}: {trial.config}"


def starts(log: Path) -> list[str]:
    """Return what a log holds of each start of its trial, in order; none if there is no log.

    Args:
        log: the trial's.
    """
    if not log.exists():
        return []
    mark = f"trial {log.stem} on "
    text = "\n" + log.read_text(encoding="utf-8", errors="replace")
    return [mark + part for part in text.split("\n" + mark)[1:]]
