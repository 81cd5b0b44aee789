"""Files that Python imports in the place of its own modules or the environment's are named where a command fails."""

import os
import subprocess
import sys

import pytest

SWEEP = ("-m", "ser_ray.sweep", "none.yaml")
FAILS = "from ser_ray.shadows import report_shadowing; report_shadowing(); {}"
IMPORTS_YAML = ("-c", FAILS.format("from yaml import safe_load"))
IMPORTS_SOUNDFILE = ("-c", FAILS.format("import soundfile"))


def run(folder, *arguments, **variables):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | variables
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("name", "text", "command"),
    [
        ("random.py", "mine = 1", SWEEP),  # of Python's library
        ("secrets.py", "1 / 0", SWEEP),  # a script of the user, which fails by itself
        ("numpy/__init__.py", "", SWEEP),  # a package of the environment
        ("yaml.py", "mine = 1", IMPORTS_YAML),  # a single file in the place of a package
        ("_cffi_backend.py", "__version__ = '1.15.1'", IMPORTS_SOUNDFILE),  # what a package needs
    ],
)
@pytest.mark.parametrize("where", ["here", "PYTHONPATH"])
def test_a_file_in_the_place_of_what_is_needed_is_named(tmp_path, name, text, command, where):
    file = tmp_path / where / name
    file.parent.mkdir(parents=True)
    file.write_text(text)
    variables = {"PYTHONPATH": str(tmp_path / where)} if where == "PYTHONPATH" else {}
    code, said = run(tmp_path / where if where == "here" else tmp_path, *command, **variables)
    named = file.parent if name.endswith("__init__.py") else file
    assert said.startswith(f"error: {named} was imported in the place of what ser_ray needs by that name (")
    assert "rename it" in said
    assert (code, said.count("\n")) == (2, 1)


def test_other_failures_keep_their_traceback(tmp_path):
    (tmp_path / "this.py").write_text("")  # which nothing imports
    (tmp_path / "mine.py").write_text("1 / 0")  # which stands in the place of nothing
    code, said = run(tmp_path, "-c", FAILS.format("import mine"))
    assert (code, said.startswith("Traceback")) == (1, True)
    assert "ZeroDivisionError" in said


def test_who_imports_the_package_has_pythons_own_hook(tmp_path):
    code, said = run(tmp_path, "-c", "import sys, ser_ray; assert sys.excepthook is sys.__excepthook__")
    assert (code, said) == (0, "")
