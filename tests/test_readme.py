"""What the README and the docs name exists."""

import re
from pathlib import Path

import pytest

from ser_ray.cli import COMMANDS
from ser_ray.sweep.spec.config import settable_keys

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "results" / "LOG.md",
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_files_exist(page):
    text = page.read_text()
    for command in re.findall(r"\bser-ray ([a-z]+)", text):
        assert command in COMMANDS, command
    for module in re.findall(r"python -m (ser_ray[\w.]*)", text):
        path = ROOT / module.replace(".", "/")
        assert (path / "__main__.py").exists() or path.with_suffix(".py").exists(), module
    for file in re.findall(r"\b(?:sweeps|benchmarks)/\w+\.(?:yaml|py)", text):
        assert (ROOT / file).exists(), file
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^ +make (\w+)", text, re.MULTILINE)) <= targets


def test_the_sweep_page_has_every_key():
    text = (ROOT / "docs" / "sweep.md").read_text()
    for key in settable_keys():
        assert key.removeprefix("trial.") in text, key


def test_the_first_result_stands_by_line_30():
    assert any("CCC 0." in line for line in (ROOT / "README.md").read_text().splitlines()[:30])
