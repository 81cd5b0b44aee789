"""Names that act where they are shown: refused on import, escaped in corpora that hold them."""

import numpy as np
import pytest
from corpus_cases import noise

from ser_ray.corpus import CorpusWriter
from ser_ray.corpus.__main__ import main as corpus_main
from ser_ray.corpus.importing.ingest import import_corpus
from ser_ray.errors import InputError
from ser_ray.plain_text import escaped, escaped_name

ACTING = ["a\x1b[31m", "a\x07b", "a\u202eb", "a\x9bb", "a\u2028b"]


@pytest.mark.parametrize("name", ACTING)
@pytest.mark.parametrize("where", ["recording", "speaker", "column", "corpus", "target", "rater"])
def test_names_that_act_where_they_are_shown_are_refused(table_source, tmp_path, where, name):
    rows = ["a,train,Sa,x", "b,train,Sb,x", "c,devel,Sc,x", "d,test,Sd,x"]
    times, values = table_source.traces()
    corpus, header = "corpus", "name,partition,speaker,note"
    if where == "recording":
        rows[0] = f"{name},train,Sa,x"
        table_source.audio(name, noise(32000))
        table_source.labels(name, times, values)
    elif where == "speaker":
        rows[0] = f"a,train,{name},x"
    elif where == "column":
        header = f"name,partition,speaker,{name}"
    elif where == "corpus":
        corpus = name
    elif where == "target":
        table_source.label_text("a", f"time,arousal,valence,{name}\n0,0,0,1\n0.04,0,0,1")
    else:
        table_source.raters("a", times, **{f"arousal_{name}": values[:, 0]})
    table_source.table(rows, header)
    with pytest.raises(InputError, match="contains unprintable characters") as caught:
        import_corpus("table", table_source.folder, tmp_path / "out", name=corpus)
    assert repr(name)[1:-1] in str(caught.value)


@pytest.mark.parametrize("name", ACTING)
def test_names_that_act_are_escaped_in_corpora_that_hold_them(tmp_path, name, capsys):
    out = tmp_path / "made"
    with CorpusWriter(out, name=name, label_rate=25.0, targets=("arousal", "valence"), notice=f"one\n{name}") as writer:
        for number, partition in enumerate(("train", "devel", "test")):
            gold = np.random.default_rng(number).uniform(-1, 1, (50, 2)).astype(np.float32)
            ratings = {"arousal": {name: gold[:, 0], "R2": gold[:, 1]}}
            speaker, extra = name, {"sex": name, "dyad": name}
            writer.add(f"{partition}{name}", partition, speaker, noise(32000), gold, ratings=ratings, extra=extra)
    assert corpus_main(["info", str(out)]) == 0
    corpus_main(["check", str(out)])
    shown = capsys.readouterr().out
    assert escaped_name(name) in shown
    assert shown == escaped(shown)
