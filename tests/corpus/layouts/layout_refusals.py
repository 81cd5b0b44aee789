"""What a layout says of a folder that is not as it should be."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from ser_ray.corpus.source.description import Description, Labelled, Source
from ser_ray.errors import InputError


def refusal(of: Callable[[], object], folder: Path) -> str:
    """Return the message of the InputError, with SRC for the folder."""
    with pytest.raises(InputError) as caught:
        of()
    return str(caught.value).replace(str(folder), "SRC")


def labels_of(source: Source) -> Labelled:
    """Return the labels, read as another process would."""
    assert source.labels is not None
    return pickle.loads(pickle.dumps(source.labels))()


def by_name(description: Description) -> dict[str, Source]:
    return {source.name: source for source in description.sources}


def edit(path: Path, line: int, text: str) -> None:
    """Replace a line, counted from 1, of a text file."""
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")
