"""The made-up data of the layout that a test module names by LAYOUT, SECONDS and SEED."""

import shutil

import layout_refusals
import pytest

from ser_ray.corpus.layouts import LAYOUTS
from ser_ray.corpus.mimics import MIMICS


@pytest.fixture(scope="module")
def mimic(request, tmp_path_factory):
    module = request.module
    out = tmp_path_factory.mktemp(module.LAYOUT)
    MIMICS[module.LAYOUT](out, module.SECONDS, module.SEED)
    return out


@pytest.fixture
def folder(mimic, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(mimic, tmp_path / "my data")


@pytest.fixture
def refused(request, folder):
    """Returns a function that reads the folder and returns the message of the InputError, with SRC for the folder."""
    read = LAYOUTS[request.module.LAYOUT]
    return lambda: layout_refusals.refusal(lambda: read(folder), folder)
