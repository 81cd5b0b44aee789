"""What is printed: escapes for texts from files, so that they move no cursor, and numbers with their nouns."""

import re

_UNSEEN = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""Control characters except tab and newline, marks and overrides of direction, line separators, surrogates."""
_IN_TEXT = re.compile(f"[{_UNSEEN}]")
_IN_NAME = re.compile(f"[\t\n{_UNSEEN}]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def escaped(text: str) -> str:
    r"""Escape the invisible characters of a text of one or several lines, as \x1b or \u202e."""
    return _IN_TEXT.sub(_escape, text)


def escaped_name(name: str) -> str:
    """Escape the invisible characters, tabs and newlines of a name."""
    return _IN_NAME.sub(_escape, name)


def is_plain_name(name: str) -> bool:
    """Check that a name needs no escapes."""
    return _IN_NAME.search(name) is None


def spreadsheet_cell(text: str) -> str:
    """Put ' before a text that a spreadsheet would run: one that begins like a formula and is no number."""
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def counted(number: float, noun: str) -> str:
    """Write a number with its noun, which has an s unless the number is 1."""
    text = f"{number:g}" if isinstance(number, float) else f"{number}"
    return f"{text} {noun}" if number == 1 else f"{text} {noun}s"


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
