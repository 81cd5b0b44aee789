"""`python -m ser_ray.sweep` is `ser-ray sweep`; it loads nothing before signals are taken."""

import sys

from ser_ray.cli import start

if __name__ == "__main__":
    start(["sweep", *sys.argv[1:]])
