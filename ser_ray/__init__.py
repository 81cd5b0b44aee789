"""End-to-end speech emotion recognition as a batch experiment runner."""

import sys

from ser_ray.shadows import report_shadowing

__version__ = "0.1.0"

if sys.argv[:1] == ["-m"]:  # Python's value while it locates the module of `python -m ser_ray.MODULE`: a command starts
    report_shadowing()
