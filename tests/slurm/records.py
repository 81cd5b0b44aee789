"""The text in which SLURM shows a job."""

import re

_WHOLE_LINE = ("Command", "WorkDir", "StdErr", "StdIn", "StdOut", "Comment")
_PAIR = re.compile(r"(\S+?)=(\S*)")


def record(text: str) -> dict[str, str]:
    """Return the fields of the first job that `scontrol show job` lists.

    Paths and the job's name may have spaces: they end their line.
    """
    fields: dict[str, str] = {}
    for line in map(str.strip, text.partition("\n\n")[0].splitlines()):
        key, _, rest = line.partition("=")
        if key in _WHOLE_LINE:
            fields[key] = rest
            continue
        pairs, named, name = line.partition(" JobName=")
        fields |= dict(_PAIR.findall(pairs)) | ({"JobName": name} if named else {})
    return fields
