import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_ray.errors import InputError
from ser_ray.sweep.spec.document import parse_document, parse_value, read_document, shown


def test_scalars_are_those_of_yaml_1_2():
    text = "a: [1e-4, on, yes, no, off, 010, 1., .5, -3, true, null, ~, 1:30, 2026-01-01, '3']\nb: .inf"
    document = parse_document(text, "s.yaml")
    expected = [1e-4, "on", "yes", "no", "off", 10, 1.0, 0.5, -3, True, None, None, "1:30", "2026-01-01", "3"]
    assert document.data["a"] == expected
    assert [type(value) for value in document.data["a"]] == [type(value) for value in expected]
    assert document.data["b"] == math.inf


def test_every_key_and_item_knows_its_line_and_column():
    document = parse_document("name: x\n\ntrial:\n  model: {pools: [10,\n    8]}\n", "s.yaml")
    assert document.where(("name",)) == "s.yaml:1:1"
    assert document.where(("trial", "model")) == "s.yaml:4:3"
    assert document.where(("trial", "model", "pools")) == "s.yaml:4:11"
    assert document.where(("trial", "model", "pools", 1)) == "s.yaml:5:5"


def test_an_absent_path_has_the_place_of_what_it_would_stand_in():
    document = parse_document("name: x\ntrial:\n  model: {}\n", "s.yaml")
    assert document.where(("trial", "model", "pools", 1)) == "s.yaml:3:3"
    assert document.where(("schedule",)) == "s.yaml"


def test_an_alias_stands_for_what_it_names():
    assert parse_document("a: &x [1, 2]\nb: *x", "s.yaml").data == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "s.yaml: is empty, but a sweep file is a mapping"),
        ("# only a comment", "s.yaml: is empty, but a sweep file is a mapping"),
        ("- a", 's.yaml: holds ["a"], but a sweep file is a mapping'),
        ("plain", 's.yaml: holds "plain", but a sweep file is a mapping'),
        ("a: 1\nb: {c: 1,\n  c: 2}", "s.yaml:3:3: key c is given here and in line 2; keep one of them"),
        ("a: 1\n'a': 2", "s.yaml:2:1: key a is given here and in line 1"),
        ("a: 1\nb: [1, 2\nc: 3", "s.yaml:3:2: not valid YAML: expected ',' or ']', but got ':'"),
        ("a: b: c", "s.yaml:1:5: not valid YAML: mapping values are not allowed here\n  a: b: c"),
        ("a:\n\t- b", "; indent with spaces, not tabs"),
        ("a: 'x", "that begins in line 1"),
        ("a: *nope", "s.yaml:1:4: not valid YAML: found undefined alias 'nope'"),
        ("a: 1\nb: \x01", "s.yaml:2: the character '\\x01' is not allowed in YAML"),
        ("a: &x [*x]", "s.yaml:1:4: aliases (*) make this recursive"),
        ("a: 1\n---\nb: 2", "s.yaml:3:1: a second document (---); a sweep file contains only one"),
        ("3: a", "s.yaml:1:1: key 3 is not a string"),
        ("? [a]\n: b", 'key ["a"] is not a string'),
        ("a: &x {b: 1}\nc:\n  <<: *x", "s.yaml:3:3: merge keys (<<) are not supported"),
        ("a: !!int b", "s.yaml:1:4: 'b' is not a valid int"),
        ("a: " + "[" * 1000, "s.yaml: lists and mappings are nested too deeply"),
    ],
)
def test_what_is_no_plain_mapping_is_refused(text, message):
    with pytest.raises(InputError) as refused:
        parse_document(text, "s.yaml")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch /tmp/never']",
        "!!python/name:os.system",
        "!!python/object/new:subprocess.Popen [[ls]]",
        "!mine {}",
        "!!set {a, b}",
        "!!binary aGk=",
        "[1, !!python/tuple [1, 2]]",
    ],
)
def test_a_file_cannot_name_code_or_types_to_load(value):
    with pytest.raises(InputError) as refused:
        parse_document(f"name: x\ntrial: {value}", "s.yaml")
    said = str(refused.value)
    assert said.startswith("s.yaml:2:")
    assert "is not allowed: a sweep file contains only strings, numbers, lists and mappings; remove the tag" in said


def test_a_bomb_of_aliases_is_refused():
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for old, new in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]")
    with pytest.raises(InputError, match="recursive or larger than 200000 values"):
        parse_document("\n".join(lines), "s.yaml")


def test_a_missing_file_names_those_near_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    for name in ("overlap.yaml", "demo.yaml", "notes.txt"):
        (tmp_path / "sweeps" / name).write_text("name: x")
    said = "did you mean sweeps/overlap.yaml? (there are: sweeps/demo.yaml, sweeps/overlap.yaml)"
    for missing in ("sweeps/overlp.yaml", "overlap.yaml", "overlap", "elsewhere/overlap.yml"):
        with pytest.raises(InputError) as refused:
            read_document(Path(missing))
        assert str(refused.value) == f"{missing}: no such file; {said}"


def test_a_missing_file_in_an_empty_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no such file, and no sweep file in"):
        read_document(tmp_path / "a.yaml")


def test_folders_and_binary_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_document(tmp_path)
    (tmp_path / "a.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(InputError, match=r"a\.yaml: not valid UTF-8"):
        read_document(tmp_path / "a.yaml")


def test_a_value_is_read_as_yaml_and_its_mistakes_name_the_option():
    assert parse_value("[8, 6, 6]", "--set k=v") == [8, 6, 6]
    assert parse_value("1e-4", "--set k=v") == 1e-4
    assert parse_value("null", "--set k=v") is None
    with pytest.raises(InputError, match="--set k=: no value after '='; write null for none"):
        parse_value(" ", "--set k=")
    with pytest.raises(InputError, match=r"--set k=\[1: not valid YAML: .*quote strings"):
        parse_value("[1", "--set k=[1")


def test_long_values_are_cut():
    assert shown({"a": [1, None, True, "x"], "b": 0.5}) == '{a: [1, null, true, "x"], b: 0.5}'
    assert len(shown(list(range(1000)))) == 80


printable = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | printable,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(printable, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(printable, plain, min_size=1, max_size=4))
def test_json_is_read_as_what_it_says(data):
    assert parse_document(json.dumps(data, ensure_ascii=False), "s.yaml").data == data


def test_reading_needs_neither_torch_nor_ray():
    planning = "ser_ray.sweep.planning.plan, ser_ray.sweep.spec.quick, ser_ray.sweep.planning.resolved"
    code = f"import sys, {planning}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "ser_ray.sweep.planning.plan" in loaded
    assert not {"torch", "ray", "numba", "scipy"} & set(loaded)
