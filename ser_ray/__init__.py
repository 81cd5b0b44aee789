"""End-to-end speech emotion recognition as a batch experiment runner."""

import sys

from ser_ray.shadows import report_shadowing

__version__ = "0.1.0"

if sys.argv[:1] == ["-m"]:  # which Python has there while `python -m ser_ray.ROOM` is looked for: a command begins
    report_shadowing()
