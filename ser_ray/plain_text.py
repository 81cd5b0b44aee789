"""Texts of files as they may be shown: none moves the cursor, no name breaks a line."""

import re

_UNSEEN = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""Control characters but tab and newline, marks and overrides of direction, line separators, bytes that are no text."""
_IN_TEXT = re.compile(f"[{_UNSEEN}]")
_IN_NAME = re.compile(f"[\t\n{_UNSEEN}]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def escaped(text: str) -> str:
    r"""Return a text of one or several lines with what acts instead of being seen as \x1b, \u202e and the like."""
    return _IN_TEXT.sub(_escape, text)


def escaped_name(name: str) -> str:
    """Return a name likewise, in which tabs and newlines are escaped, too."""
    return _IN_NAME.sub(_escape, name)


def is_plain_name(name: str) -> bool:
    """Return whether all of a name is seen when it is shown."""
    return _IN_NAME.search(name) is None


def spreadsheet_cell(text: str) -> str:
    """Return a text as a cell that a spreadsheet shows instead of running it: behind ' if it begins as a formula does.

    Args:
        text: of the cell; that of a number stays as it is.
    """
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
