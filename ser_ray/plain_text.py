"""Escapes texts from files for printing, so that none moves the cursor and no name breaks a line."""

import re

_UNSEEN = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""Control characters but tab and newline, marks and overrides of direction, line separators, surrogates."""
_IN_TEXT = re.compile(f"[{_UNSEEN}]")
_IN_NAME = re.compile(f"[\t\n{_UNSEEN}]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def escaped(text: str) -> str:
    r"""Return a text of one or several lines with invisible characters as escapes, such as \x1b and \u202e."""
    return _IN_TEXT.sub(_escape, text)


def escaped_name(name: str) -> str:
    """Return a name with invisible characters, tabs and newlines as escapes."""
    return _IN_NAME.sub(_escape, name)


def is_plain_name(name: str) -> bool:
    """Return whether a name needs no escapes."""
    return _IN_NAME.search(name) is None


def spreadsheet_cell(text: str) -> str:
    """Return a text as a cell that a spreadsheet does not run: after ' if it begins like a formula and is no number."""
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
