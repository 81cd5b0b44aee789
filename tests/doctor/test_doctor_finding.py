"""How a finding reads."""

import pytest

from ser_ray.doctor.finding import fail, ok, size, warn


def test_a_line_has_level_name_text_and_fix():
    assert ok("room", "much").line() == "ok    room        much"
    assert warn("room", "little", "make some").line() == "warn  room        little; fix: make some"
    assert fail("room", "none", "make some").line("n1") == "n1  FAIL  room        none; fix: make some"


def test_a_finding_is_one_line_whatever_its_text():
    assert warn("corpus", "a\n  b", "c\nd").line() == "warn  corpus      a b; fix: c d"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 kB"), (64_000, "64 kB"), (1_500_000, "1.5 MB"), (79_600_000_000, "80 GB"), (2.5e12, "2.5 TB")],
)
def test_sizes(count, text):
    assert size(count) == text
