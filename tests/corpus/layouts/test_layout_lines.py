"""Text files without a header that can be relied upon, tables of partitions, and stretches of even stamps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from layout_refusals import refusal

from ser_ray.corpus.layouts.lines import read_lines, to_traces, without_header
from ser_ray.corpus.layouts.partition_table import read_partitions
from ser_ray.corpus.layouts.stretches import (
    Stretch,
    counted_from,
    left_out_warning,
    numbered,
    shared,
    stretches,
    usual_step,
)
from ser_ray.corpus.source.traces import Traces


def test_lines_have_numbers_and_fields_without_quotes_and_blanks(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbf'Devel_DE_01'; 0.1 ;\"x\"\n\n \n caf\xe9 ;2;\n")
    lines = read_lines(path, ";")
    assert [(line.number, line.fields) for line in lines] == [
        (1, ("Devel_DE_01", "0.1", "x")),
        (4, ("caf�", "2", "")),
    ]


def test_blanks_divide_where_no_separator_is_given(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(" 0.02   1 \n0.04\t2\n")
    assert [line.fields for line in read_lines(path)] == [("0.02", "1"), ("0.04", "2")]


def test_a_header_is_a_line_without_any_number(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("name;time\nname;0.1\n")
    lines = read_lines(path, ";")
    assert [line.number for line in without_header(lines)] == [2]
    assert without_header(lines[1:]) == lines[1:]
    assert without_header([]) == []


def test_traces_name_the_line_that_is_wrong(tmp_path):
    path = tmp_path / "a.csv"
    columns = ("name", "time", "arousal")

    def traces(text):
        path.write_text(text)
        return to_traces(path, read_lines(path, ";"), columns, {"arousal": "a"}, "time")

    made = traces("x;0;0.5\n\nx;1;nan\n")
    np.testing.assert_array_equal(made.values["a"], [0.5, np.nan])
    assert made.times_s.tolist() == [0, 1]
    assert list(made.lines) == [1, 3]
    say = lambda text: refusal(lambda: traces(text), tmp_path)  # noqa: E731
    assert say("") == "SRC/a.csv contains no labels: it needs lines with name, time, arousal"
    assert say("x;0;1\nx;1\n").startswith("SRC/a.csv, line 2: 2 fields, but must be 3: name, time, arousal; correct")
    assert say("x;0;1\nx;1;0,5\n") == (
        "SRC/a.csv, line 2: arousal is '0,5', which is not a number; write decimals with a point, not a comma"
    )
    assert say("x;0;1\n\nx;late;1\n") == "SRC/a.csv, line 3: time is 'late', which is not a number"


def test_partitions_with_a_header_and_without(tmp_path):
    path = tmp_path / "partitions.txt"
    path.write_text("MSP_1;Train\nMSP_2;Validation\nMSP_3;Test\n")
    assert {name: (p.partition, p.speaker) for name, p in read_partitions(path).items()} == {
        "MSP_1": ("train", ""),
        "MSP_2": ("devel", ""),
        "MSP_3": ("test", ""),
    }
    path.write_text("Id,speaker,Proposal\n1,anna,train\n2,bert,devel\n")
    assert {name: (p.partition, p.speaker) for name, p in read_partitions(path).items()} == {
        "1": ("train", "anna"),
        "2": ("devel", "bert"),
    }
    path.write_text("partition,remark,name\ntest,none,x\n")
    assert read_partitions(path)["x"].partition == "test"
    assert read_partitions(path)["x"].where == f"{path}, line 2"


def test_mistakes_in_partitions_are_shown_at_once(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("name,partition\na,train\na,devel\nb,tset\nc\n")
    message = refusal(lambda: read_partitions(path), tmp_path)
    assert message.splitlines()[0] == "SRC/p.csv: 3 mistakes"
    assert "SRC/p.csv, line 3: 'a' is already in SRC/p.csv, line 2; remove one" in message
    assert "SRC/p.csv, line 4: partition is 'tset', but must be one of train" in message
    assert "SRC/p.csv, line 5: 1 field, but a line needs a name and a partition" in message
    path.write_text("\n")
    assert refusal(lambda: read_partitions(path), tmp_path).startswith("SRC/p.csv is empty")


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.sampled_from([0.25, 10.0, 250.0]))
def test_stretches_are_the_longest_runs_of_neighbours(present, step):
    indices = np.flatnonzero(present)
    found = stretches(indices * step, step)
    assert sum(stretch.rows for stretch in found) == indices.size
    for stretch in found:
        first, last = round(stretch.first / step), round(stretch.last / step)
        assert all(present[first : last + 1])
        assert stretch.rows == last - first + 1
        assert not present[max(first - 1, 0)] or first == 0
        assert last + 1 == len(present) or not present[last + 1]


def test_stretches_that_are_too_short_are_counted_but_left_out():
    found = [Stretch(0, 5, 6), Stretch(9, 9, 1), Stretch(12, 13, 2)]
    assert [name for name, _ in numbered("a", found)] == ["a_1", "a_3"]
    assert [name for name, _ in numbered("a", found[:1])] == ["a"]
    assert numbered("a", found[1:2]) == []
    assert left_out_warning([]) == ()
    assert left_out_warning(["a", "b"])[0].endswith("as their rate cannot be determined: 2, such as in a")


def test_rows_of_a_stretch_count_from_its_begin(tmp_path):
    traces = Traces(tmp_path, np.array([500.0, 750, 1000, 1250]), {"v": np.arange(4.0)}, [2, 3, 5, 6])
    part = counted_from(traces, Stretch(750, 1000, 2), 1e-3)
    assert (part.times_s.tolist(), part.values["v"].tolist(), part.lines) == ([0, 0.25], [1, 2], [3, 5])


def test_steps_and_shared_stamps():
    columns = [np.array([0.0, 1, 2, 5]), np.array([1.0, 2, 5, 6])]
    assert usual_step(columns) == 1
    assert usual_step([np.array([3.0])]) == 0
    assert shared(columns).tolist() == [1, 2, 5]
