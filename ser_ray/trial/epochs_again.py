"""A trial's part of `epochs`, made again from its checkpoint, which holds the reports of all its epochs."""

from typing import Any

from ser_ray.errors import InputError
from ser_ray.results import SweepFolder, make_table, read_table, read_trial, write_part


def write_epochs_again(folder: SweepFolder, key: str) -> str | None:
    """Write a trial's part of `epochs` from its newest checkpoint that holds them all.

    Returns:
        The name of the checkpoint; None if none holds them.

    Raises:
        InputError: if the trial's row or predictions, which say how many epochs it has, cannot be read.
        OSError: if the part cannot be written.
    """
    from ser_ray.training.checkpoint import LAST, PREVIOUS, load_checkpoint
    from ser_ray.training.state import read_reports
    from ser_ray.trial.rows import epoch_row

    known = _known(folder, key)
    for name in (LAST, PREVIOUS):
        try:
            reports = read_reports(load_checkpoint(folder.checkpoints(key) / name))
        except (FileNotFoundError, InputError):
            continue
        if reports and known.get("epochs") in (None, len(reports)):
            rows = [epoch_row(key, known.get("gpus"), report) for report in reports]
            write_part(folder, "epochs", key, make_table("epochs", rows))
            return name
    return None


def _known(folder: SweepFolder, key: str) -> dict[str, Any]:
    """Return what is known of a trial: its row, or the metadata of its predictions; {} where there is neither."""
    rows = read_table(folder, "trials", keys=[key], columns=["epochs", "gpus"]).to_pylist()
    if rows:
        return dict(rows[0])
    predictions = folder.part("predictions", key)
    return read_trial(predictions) if predictions.is_file() else {}
