"""Reads traces from ARFF, the text format of Weka in which AVEC handed out its gold standards.

The header's length varies from file to file, so that columns are found by the names of their attributes, and rows by
the line @data. Letters' case, quotes, blank lines and comments (%) make no difference.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from ser_ray.corpus.layouts.lines import Line, read_lines, to_traces
from ser_ray.corpus.source.traces import Traces
from ser_ray.errors import InputError

ATTRIBUTE = re.compile(r"@attribute\s+('[^']*'|\"[^\"]*\"|\S+)", re.IGNORECASE)
UNKNOWN = "?"
"""What stands for a value that is not there."""


def read_arff(path: Path, *, time: str, value: str, column: str) -> Traces:
    """Return an attribute of an ARFF file over time, as traces with one `column`; NaN where the file has "?".

    Raises:
        InputError: if it is no ARFF file, lacks an attribute, or a row is malformed.
    """
    lines = [line for line in read_lines(path, ",") if not line.fields[0].startswith("%")]
    begin = next((place for place, line in enumerate(lines) if line.fields[0].lower() == "@data"), None)
    if begin is None:
        raise InputError(f"{path} has no line @data, so that it is no ARFF file, or was cut short")
    attributes = _attributes(lines[:begin])
    for name in (time, value):
        if name.lower() not in attributes:
            raise InputError(f"{path} has no attribute {name}, only {', '.join(attributes) or 'none at all'}")
    rows = [
        Line(line.number, tuple("nan" if field == UNKNOWN else field for field in line.fields))
        for line in lines[begin + 1 :]
    ]
    return to_traces(path, rows, attributes, {value.lower(): column}, time.lower())


def _attributes(header: Sequence[Line]) -> list[str]:
    """Return the names that a header declares, in lower case."""
    matches = [ATTRIBUTE.match(line.fields[0]) for line in header]
    return [match[1].strip("'\"").strip().lower() for match in matches if match]
