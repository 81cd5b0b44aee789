"""results/few.py: corpora with few train recordings, all else the same."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from ser_ray.corpus import open_corpus
from ser_ray.errors import InputError

main = runpy.run_path(str(Path(__file__).parents[2] / "results" / "few.py"))["main"]


def made(tiny_corpus, tmp_path, *rows):
    (tmp_path / "draws.csv").write_text("\n".join(["draw,recording", *rows]))
    return main([str(tiny_corpus.path), str(tmp_path / "draws.csv"), str(tmp_path / "out")])


def test_each_draw_has_its_train_recordings_and_all_others(tiny_corpus, tmp_path):
    first, second, *_ = (recording.name for recording in tiny_corpus.recordings("train"))
    assert made(tiny_corpus, tmp_path, f"1,{first}", f"b,{second}", f"b,{first}") == 0
    few = {draw: open_corpus(tmp_path / "out" / f"few_{draw}") for draw in ("1", "b")}
    assert [[r.name for r in corpus.recordings("train")] for corpus in few.values()] == [[first], [first, second]]
    assert few["1"].fingerprint != few["b"].fingerprint
    for partition in ("devel", "test"):
        for own, other in zip(few["b"].recordings(partition), tiny_corpus.recordings(partition), strict=True):
            assert (own.name, own.speaker, own.mean, own.std) == (other.name, other.speaker, other.mean, other.std)
            np.testing.assert_array_equal(few["b"].audio(own), tiny_corpus.audio(other))
            if other.labelled:
                np.testing.assert_array_equal(few["b"].gold(own), tiny_corpus.gold(other))


def test_draws_that_are_missing_or_empty_are_refused(tiny_corpus, tmp_path):
    with pytest.raises(InputError, match=r"draws.csv has no rows"):
        made(tiny_corpus, tmp_path)
    with pytest.raises(InputError, match=r"none.csv is not a file"):
        main([str(tiny_corpus.path), str(tmp_path / "none.csv"), str(tmp_path / "out")])


@pytest.mark.parametrize("row", ["1,nobody", "1", ",,"])
def test_a_recording_that_the_corpus_lacks_is_named_with_its_line(tiny_corpus, tmp_path, row):
    with pytest.raises(InputError, match=r"draws.csv:2: need a draw and one of the train recordings"):
        made(tiny_corpus, tmp_path, row)
