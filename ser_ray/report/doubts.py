"""How many trials have a search in doubt, since their devel is too small to choose post-processing by."""

from ser_ray.report.tables import SweepTables
from ser_ray.results import read_table


def doubts(sweep: SweepTables) -> str:
    """Return how many finished trials have a search that is in doubt, or whose chain lies at the edge of its grid.

    Args:
        sweep: the sweep's trials; of `postprocessing` three columns are read.

    Returns:
        A sentence of each, "" if none has.
    """
    finished = {row["key"] for row in sweep.trials if row["status"] == "finished"}
    rows = read_table(sweep.folder, "postprocessing", keys=finished, columns=["key", "doubt", "at_edge"]).to_pylist()
    doubtful = {row["key"] for row in rows if row["doubt"] is not None}
    at_edge = {row["key"] for row in rows if row["at_edge"] is not None}
    trials = "trial" if len(finished) == 1 else "trials"
    sentences = []
    if doubtful:
        sentences.append(
            f"In {len(doubtful)} of {len(finished)} finished {trials} a search gains on devel what it does not hold, "
            "or is not known to hold, on recordings that it has not seen: devel is too small for it; see the column "
            "doubt of postprocessing."
        )
    if at_edge:
        sentences.append(
            f"In {len(at_edge)} of {len(finished)} finished {trials} a chain has the longest window or the largest "
            "shift of its grid: search.max_window_s or max_shift_s may be too small, or the network has not learnt the "
            "raters' delay (training.label_shift_s); see the column at_edge of postprocessing."
        )
    return " ".join(sentences)
