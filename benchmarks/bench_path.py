"""How much code one trial passes on its way from the command to its row: files and functions that are called.

    python benchmarks/bench_path.py [--list]

One trial of sweeps/demo.yaml with --quick, trained and searched by Ray as any other. A profile function in each
process, driver, workers and search actors, notes every function of the package when it is called first; lambdas,
comprehensions and the bodies of classes and modules do not count.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "ser_ray"
HOOK = """
import os, sys, threading

folder, package = os.environ["SER_RAY_BENCH_PATH"], os.environ["SER_RAY_BENCH_PACKAGE"]
seen = set()

def note(frame, event, argument):
    code = frame.f_code
    if event != "call" or code in seen:
        return
    seen.add(code)
    if code.co_filename.startswith(package) and not code.co_name.startswith("<"):
        with open(os.path.join(folder, str(os.getpid())), "a") as file:
            file.write(f"{code.co_filename[len(package) + 1:]}:{code.co_qualname}\\n")

threading.setprofile(note)
sys.setprofile(note)
"""


def main() -> int:
    """Run the trial and print what it called."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print every function, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "hook").mkdir()
        (place / "called").mkdir()
        (place / "hook" / "sitecustomize.py").write_text(HOOK)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(place / "hook"), str(PROJECT)]),
            "SER_RAY_BENCH_PATH": str(place / "called"),
            "SER_RAY_BENCH_PACKAGE": str(PACKAGE),
        }
        sweep = [str(PROJECT / "sweeps" / "demo.yaml"), "--quick", "--set", "schedule.max_trials=1"]
        command = [sys.executable, "-m", "ser_ray.sweep", *sweep, "--results", str(place / "results")]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        called = {line for path in (place / "called").iterdir() for line in path.read_text().splitlines()}
    files = Counter(line.split(":")[0] for line in called)
    lines = sum(len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py"))
    print(f"one trial from the command to its row: {len(files)} files, {len(called)} functions")
    print(f"the package has {len(list(PACKAGE.rglob('*.py')))} files with {lines:,} lines")
    if options.list:
        print("\n".join(sorted(called)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
