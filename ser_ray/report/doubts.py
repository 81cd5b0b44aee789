"""How many trials have a search in doubt, since their devel is too small to choose post-processing by."""

from ser_ray.report.tables import SweepTables
from ser_ray.results import read_table


def doubts(sweep: SweepTables) -> str:
    """Return in one sentence how many finished trials have a search that is in doubt.

    Args:
        sweep: the sweep's trials; of `postprocessing` two columns are read.

    Returns:
        The sentence; "" if none has.
    """
    finished = {row["key"] for row in sweep.trials if row["status"] == "finished"}
    rows = read_table(sweep.folder, "postprocessing", keys=finished, columns=["key", "doubt"]).to_pylist()
    doubtful = {row["key"] for row in rows if row["doubt"] is not None}
    if not doubtful:
        return ""
    trials = "trial" if len(finished) == 1 else "trials"
    return (
        f"In {len(doubtful)} of {len(finished)} finished {trials} a search gains on devel what it does not hold, or is "
        "not known to hold, on recordings that it has not seen: devel is too small for it; see the column doubt of "
        "postprocessing."
    )
