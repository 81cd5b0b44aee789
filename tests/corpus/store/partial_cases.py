"""Imports that are interrupted, and what they leave."""

import pytest

from ser_ray.corpus import CorpusWriter
from ser_ray.corpus.importing.ingest import import_corpus

NAMES = {name: "devel" if name == "f" else "train" for name in "abcdef"}


def content(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def interrupted(source, out, after, monkeypatch, error, raised=None):
    """Import, and raise an error when so many recordings are written."""
    add = CorpusWriter.add

    def failing(self, *arguments, **options):
        if self.written == after:
            raise error
        return add(self, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(CorpusWriter, "add", failing)
        with pytest.raises(raised or type(error)) as caught:
            import_corpus("table", source.folder, out, name="n")
    assert not out.exists()
    return str(caught.value)
