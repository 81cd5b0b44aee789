"""States of a plan's trials, read from the sweep's folder alone; damaged parts are set aside and restored first."""

import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ser_ray.files import set_aside
from ser_ray.results import (
    SCHEMAS,
    Damage,
    DamagedPartError,
    SweepFolder,
    find_damaged,
    read_table,
    set_damaged_aside,
)
from ser_ray.results.folder import PART
from ser_ray.results.parts import opened_part
from ser_ray.trial import Trial

MOST_TOLD = 50
"""Maximum number of damaged parts that are listed one by one."""


@dataclass(frozen=True)
class TrialStates:
    """The trials of a plan by their states.

    Args:
        finished: keys of trials whose results are complete.
        stopped: keys of trials that the schedule ended early.
        failed: key -> reason.
        to_search: trials that are trained and not yet searched, or whose chains are missing.
        to_train: the others.
    """

    finished: frozenset[str] = frozenset()
    stopped: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict)
    to_search: tuple[Trial, ...] = ()
    to_train: tuple[Trial, ...] = ()

    @property
    def ended(self) -> int:
        """Number of trials that need nothing any more."""
        return len(self.finished) + len(self.stopped) + len(self.failed)

    @property
    def open(self) -> int:
        """Number of trials to be trained or searched."""
        return len(self.to_search) + len(self.to_train)


def read_states(folder: SweepFolder, trials: Sequence[Trial]) -> TrialStates:
    """Read the states of trials in a sweep's folder, which need not exist yet.

    Raises:
        InputError: if a part cannot be read.
    """
    columns = ["key", "status", "error"]
    rows = read_table(folder, "trials", keys=[trial.key for trial in trials], columns=columns).to_pylist()
    status = {row["key"]: row["status"] for row in rows}
    trained = folder.keys("predictions")
    unchained = {key for key, value in status.items() if value == "finished" and key in trained}
    unchained -= folder.keys("postprocessing")
    open_trials = [trial for trial in trials if trial.key not in status or trial.key in unchained]
    return TrialStates(
        finished=frozenset(key for key, value in status.items() if value == "finished") - unchained,
        stopped=frozenset(key for key, value in status.items() if value == "stopped"),
        failed={row["key"]: row["error"] for row in rows if row["status"] == "failed"},
        to_search=tuple(trial for trial in open_trials if trial.key in trained),
        to_train=tuple(trial for trial in open_trials if trial.key not in trained),
    )


def forget_failed(folder: SweepFolder, keys: Iterable[str]) -> None:
    """Remove the rows of failed trials, so that these are run again.

    Checkpoints are kept: a trial that failed for want of memory or disk goes on from its last epoch, and one that
    diverged would also diverge from the start.
    """
    for key in keys:
        folder.part("trials", key).unlink(missing_ok=True)


def repair(folder: SweepFolder, planned: Collection[str], say: Callable[[str], None]) -> None:
    """Set aside the damaged parts of a sweep's tables, and rewrite those that can be rewritten at once.

    A trial's epochs are in its checkpoint as well, and are rewritten from there. Its row and chains follow from its
    predictions, and are searched again; a trial without predictions is trained on. Neither is done here: a part that
    was set aside is missing, and `read_states` finds what is missing.

    Args:
        folder: of the sweep, in which other drivers may run other shares.
        planned: keys of the trials of this run.
        say: called with a line for each damaged part: what is wrong, where it is now, and how it is restored.

    Raises:
        InputError: if a part is of an unsupported version of ser_ray, or its file system does not return it.
        OSError: if the folder cannot be written.
    """
    aside = {
        damage: place.relative_to(folder.path)
        for damage in find_damaged(folder)
        if (place := set_damaged_aside(folder, damage)) is not None
    }
    for number, (damage, place) in enumerate(aside.items()):
        then = _made_again(folder, damage, damage.key in planned)  # for unlisted parts, too
        if number < MOST_TOLD:
            say(f"DAMAGED   {damage.table}/{damage.key}{PART}: {damage.reason}; set aside as {place}; {then}")
    if len(aside) > MOST_TOLD:
        say(f"DAMAGED   and {len(aside) - MOST_TOLD} more parts, also set aside in damaged/")
    _put_compacted_aside(folder, say)


def _made_again(folder: SweepFolder, damage: Damage, planned: bool) -> str:
    """Rewrite a part if its contents are elsewhere, and describe how it is or will be restored."""
    key = damage.key
    row, predictions = (folder.part(table, key).is_file() for table in ("trials", "predictions"))
    if damage.table == "epochs":
        from ser_ray.trial.rows import write_epochs_again

        source = write_epochs_again(folder, key)
        if source is not None:
            return f"restored from {source}"
    if row and damage.table == "epochs":
        return "no checkpoint has its epochs any more; the row is kept"
    if row and not (damage.table == "postprocessing" and predictions):
        path = shlex.quote(str(folder.part("trials", key)))
        return f"the row is kept; to restore the part from the checkpoint, delete the row (rm {path}) and run again"
    if not planned:
        return "it is not restored, since its trial is not in this plan"
    if predictions:
        return "its post-processing is searched again"
    return "its training continues"


def _put_compacted_aside(folder: SweepFolder, say: Callable[[str], None]) -> None:
    """Set aside damaged compacted tables, which are rewritten when that is worth it: the parts contain everything."""
    for table in SCHEMAS:
        path = folder.compacted(table)
        try:
            with opened_part(path):
                pass
        except FileNotFoundError:
            continue
        except DamagedPartError:
            place = set_aside(path, folder.path / "damaged" / path.name)
            say(
                f"DAMAGED   {path.name}: set aside as {place.relative_to(folder.path)}; the parts contain all of its "
                "rows"
            )
