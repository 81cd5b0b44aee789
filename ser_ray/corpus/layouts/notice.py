"""Licence and remarks that come with data."""

from pathlib import Path

NOTICE = "NOTICE"


def read_notice(folder: Path) -> str:
    """Return what a file NOTICE in a folder says; "" where there is none."""
    path = folder / NOTICE
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
