"""plan.json: the trials that the last run of a sweep planned."""

import os

import pytest

from ser_ray.errors import InputError
from ser_ray.results import read_planned, write_planned


def a_folder(path):
    path.unlink()
    path.mkdir()


def a_named_pipe(path):
    path.unlink()
    os.mkfifo(path)


def a_link_to_nothing(path):
    path.unlink()
    path.symlink_to("nowhere")


DAMAGED = [a_folder, a_named_pipe, a_link_to_nothing] + [
    lambda path, data=data: path.write_bytes(data)
    for data in (b"", b'{"trials": ["1', b"\0" * 40, b"\xff\xfe", b"[]", b"{}", b'{"trials": null}', b'{"trials": [1]}')
]


def test_the_last_plan_is_what_is_read_and_nothing_else_is_left(folder):
    write_planned(folder, ["b", "a", "b"])
    assert read_planned(folder) == {"a", "b"}
    write_planned(folder, ["c"])
    assert read_planned(folder) == {"c"}
    assert [path.name for path in folder.path.iterdir() if path != folder.tmp] == ["plan.json"]
    assert not list(folder.tmp.iterdir())


def test_a_plan_without_trials_is_not_the_want_of_a_plan(folder):
    assert read_planned(folder) is None
    write_planned(folder, [])
    assert read_planned(folder) == frozenset()


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_plan_is_named_with_what_to_do_and_the_next_run_mends_a_file(folder, damage):
    write_planned(folder, ["a"])
    damage(folder.plan_file)
    with pytest.raises(InputError, match=r"plan\.json cannot be read \(.+\); run the sweep again to rewrite it"):
        read_planned(folder)
    if folder.plan_file.is_dir():
        folder.plan_file.rmdir()
    write_planned(folder, ["b"])
    assert read_planned(folder) == {"b"}
