"""The floors of the house: imports run downwards only, and Ray and PyTorch stay in their rooms."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ser_ray"

FLOORS = {
    "errors": 0,
    "shadows": -1,
    "signals": -1,
    "plain_text": -1,
    "results": 1,
    "metrics": 1,
    "overlap": 1,
    "provenance": 1,
    "unwritable": 0,
    "allocation": 0,
    "kernel_cache": 1,
    "triton_host": 1.5,
    "models": 2,
    "corpus": 2,
    "postprocess": 2,
    "report": 3,
    "training": 3,
    "gpus": 4,
    "trial": 4,
    "trained": 4,
    "predict": 5,
    "agreement": 5,
    "sweep": 5,
    "reproduce": 6,
    "doctor": 6,
    "slurm": 6,
    "cli": 7,
    "__main__": 7,
    "__init__": 0,
}
RAY_FILES = {"sweep/running/tune.py", "sweep/running/search_pool.py", "sweep/nodes/cluster.py"}
TORCH_ROOMS = {"models", "training", "trial", "predict", "sweep"}
TORCHAUDIO_FILES = {"corpus/importing/audio.py", "gpus/probe.py"}
"""Resampling, which torchaudio does on tensors; and what tries whether both can be imported."""
DOORS = {"cli"}
"""What a room's `__main__` may import from above: the door that says its user's mistakes."""
DOOR_FILES = {"__main__.py", "predict.py", "node.py"}
"""What `python -m` runs: the `__main__` of rooms, the one room that is a file, and what a job runs on each node."""


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path):
    """Every import in a file, also inside functions, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations(floors):
    found = []
    for path in modules():
        room = room_of(path)
        for name in imports(path):
            parts = name.split(".")
            if parts[0] != "ser_ray" or len(parts) < 2 or parts[1] not in floors or parts[1] == room:
                continue
            door = parts[1] in DOORS and path.name in DOOR_FILES
            if floors[parts[1]] >= floors[room] and not door:
                found.append(f"{path.relative_to(PACKAGE)} imports {name}")
    return found


def test_every_room_has_a_floor():
    assert {room_of(path) for path in modules()} <= set(FLOORS)


def test_imports_run_downwards_only():
    assert violations(FLOORS) == []


def test_the_check_finds_an_import_upwards():
    assert violations({**FLOORS, "metrics": 7})


def test_ray_is_imported_in_three_files_alone():
    users = {
        str(path.relative_to(PACKAGE))
        for path in modules()
        if any(name.split(".")[0] == "ray" for name in imports(path))
    }
    assert users == RAY_FILES


def test_torch_stays_in_its_rooms():
    for path in modules():
        tops = {name.split(".")[0] for name in imports(path)}
        where = str(path.relative_to(PACKAGE))
        assert "torch" not in tops or room_of(path) in TORCH_ROOMS or where in TORCHAUDIO_FILES, where
        assert "torchaudio" not in tops or where in TORCHAUDIO_FILES, where


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import ser_ray", {"ray", "torch", "numpy"}),
        ("import ser_ray.sweep.command", {"ray", "torch", "numba", "matplotlib"}),
        ("import ser_ray.trial", {"ray", "torch"}),
        ("import ser_ray.training.loop", {"ray"}),
        ("import ser_ray.trial.train, ser_ray.trial.search", {"ray"}),
        ("import ser_ray.report.page", {"ray", "torch", "pandas", "numba"}),
        ("import ser_ray.report.status, ser_ray.report.logs", {"ray", "torch", "scipy", "numba", "matplotlib"}),
        ("import ser_ray.report.leaderboard", {"ray", "torch", "pandas", "numba", "matplotlib"}),
        ("import ser_ray.doctor.__main__", {"ray", "torch", "numba", "numpy", "pyarrow", "pydantic", "rich"}),
        ("import ser_ray.slurm.submit", {"ray", "torch", "numba", "matplotlib"}),
        ("import ser_ray.slurm.node", {"ray", "torch", "numba", "matplotlib"}),
        ("import ser_ray.reproduce", {"ray", "torch", "numba", "matplotlib"}),
        ("import ser_ray.predict", {"ray", "torch", "scipy", "numba"}),
    ],
)
def test_what_an_import_brings(statement, absent):
    code = f"import sys; {statement}; print(*sorted({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_that_check_can_fail():
    code = "import sys; import torch; print(*sorted({'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["torch"]


def test_no_circles_between_files():
    """Imports at the top of files, outside TYPE_CHECKING, followed to their end."""
    names = {".".join(("ser_ray", *p.relative_to(PACKAGE).with_suffix("").parts)): p for p in modules()}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}

    def top_level(path):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    yield whole if whole in names else node.module

    graph = {name: {n for n in top_level(path) if n in names and n != name} for name, path in names.items()}
    done, under_way = set(), []

    def visit(name):
        if name in done:
            return
        assert name not in under_way, f"circle: {' -> '.join([*under_way[under_way.index(name) :], name])}"
        under_way.append(name)
        for other in sorted(graph[name]):
            visit(other)
        done.add(under_way.pop())

    for name in sorted(graph):
        visit(name)


def test_files_are_short():
    long = {str(p.relative_to(PACKAGE)): n for p in modules() if (n := len(p.read_text().splitlines())) > 400}
    assert long == {}
