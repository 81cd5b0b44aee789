"""How much code one trial passes on its way from the command to its row: files and functions that are called.

    python benchmarks/bench_path.py [--list]

One trial of sweeps/demo.yaml with --quick, trained and searched by Ray as any other, on a corpus that is there. A
profile function in each process, driver, worker and search actor, notes every function of the package when it is
called first, and whether the trial's row was written by then; lambdas, comprehensions and the bodies of classes and
modules do not count. The whole command, which makes the corpus and prints the leaderboard, too, is counted beside it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "ser_ray"
HOOK = """
import os, sys, threading

folder, package = os.environ["SER_RAY_BENCH_PATH"], os.environ["SER_RAY_BENCH_PACKAGE"]
rows = os.environ["SER_RAY_BENCH_ROWS"]
seen = set()
FUNCTION = 1  # a flag of the code of functions, which that of classes and modules lacks

def note(frame, event, argument):
    code = frame.f_code
    if event != "call" or code in seen:
        return
    seen.add(code)
    if code.co_filename.startswith(package) and code.co_flags & FUNCTION and not code.co_name.startswith("<"):
        try:
            after = any(name.endswith(".parquet") for name in os.listdir(rows))
        except OSError:
            after = False
        with open(os.path.join(folder, str(os.getpid())), "a") as file:
            file.write(f"{'after' if after else 'before'} {code.co_filename[len(package) + 1:]}:{code.co_qualname}\\n")

threading.setprofile(note)
sys.setprofile(note)
"""


def main() -> int:
    """Run the trial twice and print what it called."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print every function before the row, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole = called(Path(folder) / "whole")
        (corpus,) = (Path(folder) / "whole" / "results" / ".corpora").iterdir()
        path = called(Path(folder) / "path", "--corpus", str(corpus))
    before = {function for when, function in path if when == "before"}
    lines = sum(len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py"))
    print(f"one trial from the command to its row: {counts(before)}")
    print(f"the whole command, with its corpus and leaderboard: {counts({function for _, function in whole})}")
    print(f"the package has {len(list(PACKAGE.rglob('*.py')))} files with {lines:,} lines")
    if options.list:
        print("\n".join(sorted(before)))
    return 0


def called(place: Path, *arguments: str) -> set[tuple[str, str]]:
    """Run one trial in a new folder; return ("before" or "after" its row, file:function) of all that was called."""
    (place / "hook").mkdir(parents=True)
    (place / "called").mkdir()
    (place / "hook" / "sitecustomize.py").write_text(HOOK)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(place / "hook"), str(PROJECT)]),
        "SER_RAY_BENCH_PATH": str(place / "called"),
        "SER_RAY_BENCH_PACKAGE": str(PACKAGE),
        "SER_RAY_BENCH_ROWS": str(place / "results" / "demo" / "trials"),
    }
    sweep = [str(PROJECT / "sweeps" / "demo.yaml"), "--quick", "--set", "schedule.max_trials=1", *arguments]
    command = [sys.executable, "-m", "ser_ray.sweep", *sweep, "--results", str(place / "results")]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    lines = [line for path in (place / "called").iterdir() for line in path.read_text().splitlines()]
    return {(when, function) for when, _, function in (line.partition(" ") for line in lines)}


def counts(functions: set[str]) -> str:
    """Count functions and their files in words."""
    return f"{len({function.partition(':')[0] for function in functions})} files, {len(functions)} functions"


if __name__ == "__main__":
    raise SystemExit(main())
