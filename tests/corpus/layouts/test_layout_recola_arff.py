"""ARFF as AVEC wrote it: headers of any length, columns by name, and every malformed file named with its line."""

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_ray.corpus.layouts.recola_avec import read_arff
from ser_ray.errors import InputError

HEADER = "@relation GOLDSTANDARD\n@attribute Instance_name string\n@attribute frameTime numeric\n"
GOLD = "@attribute GoldStandard numeric\n"
FILLING = st.lists(st.sampled_from(["\n", "   \n", "% a comment, with commas\n", "%@data\n", "\t\n"]), max_size=4)


def read(path):
    return read_arff(path, time="frameTime", value="GoldStandard", column="arousal")


@pytest.fixture
def refusal(tmp_path):
    """Read a text as ARFF and return the message of the refusal."""

    def of(text):
        path = tmp_path / "train_1.arff"
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            read(path)
        return str(caught.value).replace(str(tmp_path), "SRC")

    return of


def recased(text, case):
    return {"upper": text.upper(), "lower": text.lower(), "as is": text}[case]


@st.composite
def arff_texts(draw):
    """A text, the values in it and the lines that they stand in."""
    quote = draw(st.sampled_from(["", "'", '"']))
    case = draw(st.sampled_from(["upper", "lower", "as is"]))
    columns = draw(st.permutations(["Instance_name", "frameTime", "GoldStandard", "more"]))
    values = draw(st.lists(st.integers(-(10**6), 10**6).map(lambda n: n / 10**6), min_size=1, max_size=6))
    text = recased("@relation x\n", case)
    for column in columns:
        text += "".join(draw(FILLING))
        text += recased(
            f"@attribute {quote}{column}{quote} {'string' if column == 'Instance_name' else 'real'}\n", case
        )
    text += "".join(draw(FILLING)) + recased("@data\n", case)
    lines = []
    for row, value in enumerate(values):
        text += "".join(draw(FILLING))
        lines.append(text.count("\n") + 1)
        fields = {"Instance_name": f"{quote}dev_1{quote}", "frameTime": f"{row / 25:g}", "more": "7"}
        text += draw(st.sampled_from([",", " , "])).join({**fields, "GoldStandard": f"{value:.6f}"}[c] for c in columns)
        text += "\n"
    return text, values, lines


@given(arff_texts(), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\ufeff"]))
def test_any_header_gives_the_same_traces(case, ending, mark):
    text, values, lines = case
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dev_1.arff"
        path.write_text(mark + text, encoding="utf-8", newline=ending)
        traces = read(path)
    assert list(traces.values) == ["arousal"]
    np.testing.assert_array_equal(traces.values["arousal"], values)
    np.testing.assert_array_equal(traces.times_s, [float(f"{row / 25:g}") for row in range(len(values))])
    assert list(traces.lines) == lines


def test_question_marks_are_unknown_values(tmp_path):
    path = tmp_path / "a.arff"
    path.write_text(HEADER + GOLD + "@data\na,0,0.5\na,0.04,?\n")
    np.testing.assert_array_equal(read(path).values["arousal"], [0.5, np.nan])


def test_comments_in_any_encoding(tmp_path):
    path = tmp_path / "a.arff"
    path.write_bytes("% für Köpfe\n".encode("latin-1") + (HEADER + GOLD + "@data\na,0,0.5\n").encode())
    assert read(path).values["arousal"] == [0.5]


def test_no_data(refusal):
    assert refusal(HEADER + GOLD) == "SRC/train_1.arff has no line @data, so it is not an ARFF file, or it is truncated"
    assert "has no line @data" in refusal("")


def test_attribute_missing(refusal):
    assert (
        refusal(HEADER + "@attribute gold numeric\n@data\na,0,1\n")
        == "SRC/train_1.arff has no attribute GoldStandard, only instance_name, frametime, gold"
    )
    assert refusal("@data\na,0,1\n") == "SRC/train_1.arff has no attribute frameTime, only none at all"


def test_malformed_rows(refusal):
    begin = HEADER + GOLD + "@data\na,0,0.1\n"
    assert re.search(r"train_1.arff, line 7: 2 fields, but must be 3", refusal(begin + "a,0.04\n"))
    assert re.search(r"train_1.arff, line 8: 4 fields, but must be 3", refusal(begin + "\na,0.04,0,2\n"))
    assert re.search(r"line 7: goldstandard is 'x', which is not a number", refusal(begin + "a,0.04,x\n"))
    assert "SRC/train_1.arff contains no labels" in refusal(HEADER + GOLD + "@data\n")
