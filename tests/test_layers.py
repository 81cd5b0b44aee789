"""The floors of the house: imports run downwards only, and Ray and PyTorch stay in their rooms."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ser_ray"

FLOORS = {
    "errors": 0,
    "plain_text": 0,
    "shadows": 0,
    "files": 0,
    "allocation": 1,
    "provenance": 1,
    "metrics": 1,
    "overlap": 1,
    "process": 1,
    "results": 2,
    "kernel_cache": 2,
    "triton_host": 3,
    "models": 4,
    "corpus": 4,
    "postprocess": 4,
    "report": 5,
    "training": 5,
    "gpus": 6,
    "trial": 6,
    "trained": 6,
    "predict": 7,
    "sweep": 7,
    "reproduce": 8,
    "doctor": 8,
    "slurm": 8,
    "cli": 9,
    "__main__": 10,
    "__init__": 1,
}
ROOMS = {
    "sweep": {"spec": 0, "planning": 1, "nodes": 2, "running": 3, "command": 4, "__main__": 5, "__init__": 0},
    "corpus": {
        "progress": 0,
        "workers": 0,
        "source": 1,
        "gold": 1,
        "store": 2,
        "synthetic": 3,
        "describing": 3,
        "layouts": 3,
        "mimics": 4,
        "importing": 4,
        "__init__": 5,
        "__main__": 5,
    },
}
"""The rooms inside two large ones, by floor."""
RAY_FILES = {"sweep/running/tune.py", "sweep/running/search_pool.py", "sweep/nodes/cluster.py"}
TORCH_ROOMS = {"models", "training", "trial", "predict", "sweep"}
TORCHAUDIO_FILES = {"corpus/importing/audio.py", "gpus/probe.py"}
"""Resampling, which torchaudio does on tensors; and what tries whether both can be imported."""


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def module_names():
    names = {".".join(("ser_ray", *p.relative_to(PACKAGE).with_suffix("").parts)): p for p in modules()}
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


def room_of(path):
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path):
    """Every import in a file, inside functions and for type checkers too, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations(floors, inside=""):
    """Imports that do not run downwards between the rooms of the package, or of one of its rooms."""
    depth = 2 if inside else 1
    found = []
    for name, path in module_names().items():
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if inside and parts[0] != inside:
            continue
        room = parts[depth - 1]
        for imported in imports(path):
            others = imported.split(".")
            if others[0] != "ser_ray" or (inside and others[1:2] != [inside]) or len(others) <= depth:
                continue
            other = others[depth]
            if other in floors and other != room and floors[other] >= floors[room]:
                found.append(f"{name} imports {imported}")
    return found


def test_every_room_has_a_floor():
    assert {room_of(path) for path in modules()} <= set(FLOORS)


def test_imports_run_downwards_only():
    assert violations(FLOORS) == []


@pytest.mark.parametrize("room", ROOMS)
def test_imports_inside_a_room_run_downwards_only(room):
    inner = {path.relative_to(PACKAGE / room).parts[0].removesuffix(".py") for path in (PACKAGE / room).rglob("*.py")}
    assert inner == set(ROOMS[room])
    assert violations(ROOMS[room], room) == []


def test_the_check_finds_an_import_upwards():
    assert violations({**FLOORS, "metrics": 9})
    assert violations({**ROOMS["sweep"], "spec": 9}, "sweep")


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
        ("import ser_ray.reproduce.command", {"ray", "torch", "numba", "matplotlib"}),
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
    """Imports inside functions and for type checkers count, too."""
    names = module_names()
    graph = {name: {n for n in imports(path) if n in names and n != name} for name, path in names.items()}
    for name, others in graph.items():  # `from package import submodule` is an import of the submodule alone
        graph[name] = {n for n in others if not any(other.startswith(f"{n}.") for other in others)}
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
