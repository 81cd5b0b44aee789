"""Errors of the system, in its own words."""

import errno
import os

import pytest

from ser_ray.errors import system_reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "No space left on device"),
        # as Arrow raises it
        (OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28] No space"), "No space left on device"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), "Permission denied"),
        (OSError("the file has gone"), "the file has gone"),
    ],
)
def test_the_reason_is_the_systems_whoever_raised_it(error, reason):
    assert system_reason(error) == reason
