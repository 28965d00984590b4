"""Durations, widths, counts and printable text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd_cli.text.readiness import ready_of, ready_words
from deployd_cli.text.words import age, columns, cut, duration, printable, wrapped
from tests.cli.fake_daemon import status
from tests.cli.text.any_json import NOW


@given(st.text(), st.integers(0, 50), st.booleans())
def test_cut_keeps_to_its_width_and_keeps_what_fits(source: str, width: int, left: bool) -> None:
    result = cut(source, width, left=left)
    assert columns(result) <= width
    if columns(source) <= width:
        assert result == source


@given(st.text(alphabet=st.characters(exclude_categories=["C", "Z"]) | st.just(" ")), st.integers(2, 50))
def test_wrapping_keeps_to_its_width_and_loses_nothing(source: str, width: int) -> None:
    lines = wrapped(source, width)
    assert all(columns(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(source.split())


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (3 * 86400, "3 d"),
        (None, "-"),
        (-1, "-"),
        (float("nan"), "-"),
        (float("inf"), "-"),
        ("5", "-"),
    ],
)
def test_durations_are_short(seconds: object, shown: str) -> None:
    assert duration(seconds) == shown


def test_ages_need_a_time_with_a_zone() -> None:
    assert age("2026-01-02T04:03:05+00:00", NOW) == "60 s"
    assert age("2026-01-02T05:03:05+01:00", NOW) == "60 s"
    assert age("2026-01-02T04:05:05Z", NOW) == "0.0 s"  # clocks differ; nothing is ever in the future
    assert age("2026-01-02T04:03:05", NOW) == "-"
    assert age(None, NOW) == "-"


def test_output_of_an_application_cannot_control_the_terminal() -> None:
    assert printable("a\x1b[31mred\x1b[0m\r\nb\x07\x9bc") == "ared b c"


def test_more_instances_than_desired_are_counted_apart() -> None:
    assert ready_words(status(count=4) | {"ready": 5}) == "4 of 4 ready and 1 more"
    assert ready_of(status(count=4) | {"ready": 5}) == "4 of 4 +1"
    assert ready_words(status(count=4) | {"ready": 3}) == "3 of 4 ready"
    assert ready_words(status(count=0) | {"ready": 4}) == "4 ready"
