"""An import that is interrupted and then finds other data or options makes anew what they concern, and no more."""

import shutil

import numpy as np
import pytest
from corpus_cases import noise
from partial_cases import NAMES, content, interrupted

from ser_ray.corpus import CorpusWriter, open_corpus
from ser_ray.corpus.importing.ingest import ImportConfig, import_corpus
from ser_ray.corpus.store import writer


@pytest.mark.parametrize(("changed", "kept"), [("a", 0), ("b", 1), ("d", 3), ("f", 5)])
def test_what_comes_behind_a_changed_file_is_made_anew(source, tmp_path, monkeypatch, changed, kept):
    interrupted(source, tmp_path / "out", 5, monkeypatch, KeyboardInterrupt())
    source.audio(changed, noise(32000, 99))
    assert import_corpus("table", source.folder, tmp_path / "out", name="n").kept == kept
    import_corpus("table", source.folder, tmp_path / "whole", name="n")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_other_options_begin_anew(source, tmp_path, monkeypatch):
    interrupted(source, tmp_path / "out", 3, monkeypatch, KeyboardInterrupt())
    config = ImportConfig(rater_lag_s=0.2)
    assert import_corpus("table", source.folder, tmp_path / "out", config, name="n").kept == 0
    import_corpus("table", source.folder, tmp_path / "whole", config, name="n")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.parametrize("targets", [("arousal", "valence"), ("valence", "arousal")])
def test_other_targets_begin_anew(source, tmp_path, monkeypatch, targets):
    """Also where all shards were closed, and only the end was missing."""

    def interrupt(path, rows):
        raise KeyboardInterrupt

    first = ImportConfig(targets=("valence",) if targets[0] == "arousal" else ("arousal", "valence"))
    with monkeypatch.context() as patched:
        patched.setattr(writer, "write_raters", interrupt)
        with pytest.raises(KeyboardInterrupt):
            import_corpus("table", source.folder, tmp_path / "out", first, name="n")
    config = ImportConfig(targets=targets)
    assert import_corpus("table", source.folder, tmp_path / "out", config, name="n").kept == 0
    import_corpus("table", source.folder, tmp_path / "whole", config, name="n")
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.parametrize("after", [3, 5])
def test_what_an_import_of_more_has_left_is_removed(source, tmp_path, monkeypatch, after):
    interrupted(source, tmp_path / "out", after, monkeypatch, KeyboardInterrupt())
    for name in ("raters.parquet", "index.parquet", "corpus.json"):
        (tmp_path / ".out.partial" / name).write_text("as far as the disk had room")
    shutil.rmtree(source.folder / "raters")
    source.table(["a,train,S", "f,devel,T"])
    import_corpus("table", source.folder, tmp_path / "out", name="n")
    import_corpus("table", source.folder, tmp_path / "whole", name="n")
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == [
        "00000.arrow",
        "corpus.json",
        "index.parquet",
        "shards",
    ]


def test_a_shard_that_nothing_is_written_to_any_more_is_removed(source, tmp_path, monkeypatch):
    rows = ["a,train,S", "b,devel,T", *(f"{name},train,S" for name in "cdef")]
    source.table(rows)
    interrupted(source, tmp_path / "out", 3, monkeypatch, KeyboardInterrupt())
    source.table(rows[:2])
    assert import_corpus("table", source.folder, tmp_path / "out", name="n").kept == 2
    assert [path.name for path in (tmp_path / "out" / "shards").iterdir()] == ["00000.arrow"]


def test_another_label_rate_begins_anew_also_where_nothing_is_labelled(source, tmp_path, monkeypatch):
    source.table(["a,test,S", *(f"{name},{partition},S" for name, partition in NAMES.items() if name != "a")])
    for folder in ("labels", "raters"):
        (source.folder / folder / "a.csv").unlink()
    shutil.rmtree(source.folder / "raters")
    interrupted(source, tmp_path / "out", 1, monkeypatch, KeyboardInterrupt())
    for name in "bcdef":
        source.labels(name, np.arange(21) / 10, np.zeros((21, 2)))
    assert import_corpus("table", source.folder, tmp_path / "out", name="n").kept == 0
    corpus = open_corpus(tmp_path / "out")
    assert {r.samples // r.frames for p in ("train", "devel", "test") for r in corpus.recordings(p)} == {1600}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("start", "0.04"),
        ("end", "1.96"),
        ("channel", "1"),
        ("channel", "mean"),
        ("partition", "test"),
        ("speaker", "T"),
        ("sex", "f"),
        ("audio", "b.wav"),
    ],
)
def test_a_recording_of_which_the_table_says_something_else_is_made_anew(source, tmp_path, monkeypatch, column, value):
    def write(**changes):
        columns = ("name", "partition", "speaker", "start", "end", "channel", "sex", "audio")
        rows = [
            {**dict.fromkeys(columns, ""), "name": name, "partition": partition, "speaker": "S"}
            for name, partition in NAMES.items()
        ]
        rows[0] |= changes
        source.table([",".join(row.values()) for row in rows], ",".join(columns))

    write()
    interrupted(source, tmp_path / "out", 2, monkeypatch, KeyboardInterrupt())
    assert interrupted_again(source, tmp_path / "out", monkeypatch) == 2
    write(**{column: value})
    assert import_corpus("table", source.folder, tmp_path / "out", name="n").kept == 0


def interrupted_again(source, out, monkeypatch):
    """How many recordings an import goes on with that is interrupted at once."""
    found = []

    def failing(self, *arguments, **options):
        found.append(self.written)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(CorpusWriter, "add", failing)
        with pytest.raises(KeyboardInterrupt):
            import_corpus("table", source.folder, out, name="n")
    return found[0]


def test_a_recording_without_one_of_its_label_files_is_made_anew(source, tmp_path, monkeypatch):
    interrupted(source, tmp_path / "out", 2, monkeypatch, KeyboardInterrupt())
    (source.folder / "raters" / "a.csv").unlink()
    assert import_corpus("table", source.folder, tmp_path / "out", name="n").kept == 0
