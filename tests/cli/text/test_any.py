"""Texts of the command are harmless for any JSON, whatever the size of the terminal."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from deployd_cli.text.event import ended_as, event_line, event_lines, outcome
from deployd_cli.text.history import history_lines
from deployd_cli.text.paint import PLAIN, Paint
from deployd_cli.text.plan import check_line, plan_lines
from deployd_cli.text.progress import Progress
from deployd_cli.text.status import change_line, overview_lines, status_lines
from deployd_cli.text.units import diff_lines, unit_lines
from tests.cli.text.any_json import NOW, assert_fits, odd

WIDTHS = st.integers(min_value=1, max_value=200)


@given(odd, WIDTHS, st.booleans(), st.none() | st.integers(0, 50))
def test_any_status_can_be_drawn_at_any_size(
    source: dict[str, Any], width: int, colour: bool, height: int | None
) -> None:
    paint = Paint(on=colour)
    lines = status_lines(source, NOW, width=max(width, 2), paint=paint, height=height)
    assert_fits(lines, max(width, 2))
    overview = overview_lines([source, source], width=max(width, 12), paint=paint, height=height)
    assert_fits(overview, max(width, 12))
    assert height is None or max(len(lines), len(overview)) <= height
    status_lines(source, NOW, width=None, paint=paint)
    assert change_line(source).isprintable()


@given(odd, WIDTHS)
def test_any_history_can_be_drawn(source: dict[str, Any], width: int) -> None:
    width = max(width, 20)
    assert_fits(history_lines(source, NOW, width=width, paint=PLAIN), width)
    history_lines(source, NOW, width=None, paint=PLAIN)


@given(odd)
def test_any_plan_unit_verdict_and_event_can_be_printed(source: dict[str, Any]) -> None:
    assert plan_lines(source, PLAIN)
    unit_lines(source, PLAIN)
    diff_lines(source, PLAIN)
    check_line(source)
    assert event_line(source).isprintable()
    assert outcome(source)
    ended_as(source, "succeeded")
    assert all(line.isprintable() for line in event_lines(source))


@given(odd, st.lists(odd, max_size=12), st.integers(2, 200), st.integers(0, 60), st.booleans())
def test_any_rollout_can_be_drawn_at_any_size(
    source: dict[str, Any], events: list[dict[str, Any]], width: int, height: int, colour: bool
) -> None:
    progress = Progress("demo", source, 8, 0.0)
    for number, event in enumerate(events):
        progress.apply(event, float(number))
        progress.update(event, float(number))
    lines = progress.lines(100.0, width=width, height=height, paint=Paint(on=colour))
    assert len(lines) <= height
    assert_fits(lines, width)
