"""docs/architecture.md and its picture say what the code is."""

import re
import runpy
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PAGE = (PROJECT / "docs/architecture.md").read_text()


def test_the_picture_shows_the_imports_of_today():
    script = runpy.run_path(str(PROJECT / "docs/draw_architecture.py"))
    assert script["draw"](script["read_rooms"]()) == (PROJECT / "docs/architecture.svg").read_text(), (
        "python docs/draw_architecture.py draws it anew"
    )


def test_every_file_that_the_page_names_is_there():
    named = re.findall(r"`([a-z_0-9/]+(?:\.py|\.sh|/))`", PAGE)
    assert len(named) > 30
    missing = [name for name in named if not any((PROJECT / f"{room}{name}").exists() for room in ("ser_ray/", ""))]
    assert not missing


def test_both_paths_have_ten_steps():
    paths = re.findall(r"^## A .*?(?=^## )", PAGE, re.M | re.S)
    assert [len(re.findall(r"^\d+\. ", path, re.M)) for path in paths] == [10, 10]
