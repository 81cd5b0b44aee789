"""Which errors say that results cannot be written, and whether they are of a sweep's folder."""

import errno
import os
from pathlib import Path

import pytest

from ser_ray.errors import is_unwritable, names_place_in, results_cannot_be_written


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS", "EPERM", "EACCES", "ESTALE", "EIO"])
def test_file_systems_in_trouble_are_no_fault_of_what_was_written(name):
    assert is_unwritable(OSError(getattr(errno, name), name))


@pytest.mark.parametrize("name", ["ENOENT", "EISDIR", "EMFILE", "ENAMETOOLONG", "EINTR"])
def test_other_errors_are_not_taken_for_it(name):
    assert not is_unwritable(OSError(getattr(errno, name), name))


@pytest.mark.parametrize("kind", [str, os.fspath, os.fsencode, lambda path: path])
@pytest.mark.parametrize("second", [False, True])
def test_a_place_is_known_by_either_path_of_an_error(tmp_path, kind, second):
    inside, outside = kind(tmp_path / "sweep" / "a"), kind(tmp_path / "sweep2")
    names = (outside, inside) if second else (inside, outside)
    assert names_place_in(tmp_path / "sweep", OSError(errno.EIO, "broken", names[0], None, names[1]))
    assert not names_place_in(tmp_path / "sweep", OSError(errno.EIO, "broken", outside))


def test_an_error_without_a_path_names_no_place(tmp_path):
    assert not names_place_in(tmp_path, OSError(errno.ENOSPC, "full"))
    assert not names_place_in(tmp_path, OSError(errno.EBADF, "bad", 3))


@pytest.mark.parametrize(
    ("error", "of_results"),
    [
        (OSError(errno.ENOSPC, "full"), True),
        (OSError(errno.EROFS, "read-only", "/sweep/epochs/a.parquet"), True),
        (OSError(errno.EIO, "broken", "/corpus/shards/00000.arrow"), False),
        (FileNotFoundError(errno.ENOENT, "gone", "/sweep/predictions/a.parquet"), False),
        (ValueError("no number"), False),
    ],
)
def test_what_cannot_be_read_elsewhere_is_a_trials_own_trouble(error, of_results):
    assert results_cannot_be_written(error, Path("/sweep")) == of_results
