"""The examples in docstrings print what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ser_ray"
WITH_EXAMPLES = sorted(
    ".".join(("ser_ray", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted
    assert not result.failed


def test_what_users_import_has_examples():
    rooms = {name.split(".")[1] for name in WITH_EXAMPLES}
    assert rooms >= {"overlap", "metrics", "postprocess", "corpus", "predict"}
