"""Set aside damaged parts of a sweep before it goes on, and restore them from what is intact.

A trial's epochs are in its checkpoint as well, and are rewritten from there at once. Its row and chains follow from its
predictions, and are searched again; a trial without predictions is trained on. Neither is done here: a part that was
set aside is missing, and `read_states` finds what is missing.
"""

import shlex
from collections.abc import Callable, Collection

from ser_ray.files import set_aside
from ser_ray.results import SCHEMAS, Damage, DamagedPartError, SweepFolder, find_damaged, set_damaged_aside
from ser_ray.results.folder import PART
from ser_ray.results.parts import opened_part

MOST_TOLD = 50
"""Maximum number of damaged parts that are listed one by one."""


def repair(folder: SweepFolder, planned: Collection[str], say: Callable[[str], None]) -> None:
    """Set aside the damaged parts of a sweep's tables, and rewrite those that can be rewritten at once.

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
