"""Shares of generations over time, and their plots."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd_cli.text.paint import PLAIN, Paint
from deployd_cli.text.words import columns
from tests.demo.plot import GUTTER, HEIGHT, plot
from tests.demo.shares import Moment, Sample, Series, Shares, rows, ticks
from tests.demo.svg import STEPS, svg

SVG = "{http://www.w3.org/2000/svg}"
SERIES = [
    Series(1, "generation 1, v1"),
    Series(2, "generation 2 <v2>"),
    Series(3, "generation 3, answers 500", bad=True),
]
MOMENTS = [Moment(105.0, "deployd rollout demo --canary 5%"), Moment(109.0, "deployd rollback demo " + "long " * 30)]


def responses() -> list[Sample]:
    """Return samples of generation 1 for five seconds, then with 5 % of generation 2, then of generation 3 only."""
    samples = [Sample(100 + number / 100, 1) for number in range(500)]
    samples += [Sample(105 + number / 1000, 1 if number % 20 else 2) for number in range(4000)]
    return samples + [Sample(109 + number / 100, 3) for number in range(101)]


def test_shares_are_counted_by_steps() -> None:
    shares = Shares.of(responses(), 100.0, 110.0, 10)
    assert [shares.of_step(step) for step in (0, 4)] == [{1: 1.0}] * 2
    assert shares.of_step(5) == {1: pytest.approx(0.95), 2: pytest.approx(0.05)}
    assert shares.stacked(5, [1, 2, 3]) == pytest.approx([0.95, 1.0, 1.0])
    assert shares.of_step(9) == {3: 1.0}
    assert shares.end == pytest.approx(110.0)


def test_a_step_without_responses_has_no_shares() -> None:
    shares = Shares.of([Sample(0.5, 1), Sample(2.5, 1)], 0.0, 3.0, 3)
    assert shares.of_step(1) == {}
    assert shares.stacked(1, [1]) == []


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(ValueError, match="empty range"):
        Shares.of([], 1.0, 1.0, 5)


@given(st.dictionaries(st.integers(1, 9), st.integers(0, 10_000), max_size=6), st.integers(6, 40))
def test_all_rows_are_assigned_and_each_generation_has_one(counts: dict[int, int], height: int) -> None:
    total = sum(counts.values())
    shares = {generation: count / total for generation, count in counts.items()} if total else {}
    given_rows = rows(shares, height)
    assert set(given_rows) == {generation for generation, count in counts.items() if count}
    assert sum(given_rows.values()) == (height if given_rows else 0)
    assert all(number >= 1 for number in given_rows.values())


def test_five_percent_is_one_row_and_a_tiny_share_too() -> None:
    assert rows({1: 0.95, 2: 0.05}, HEIGHT) == {1: 19, 2: 1}
    assert rows({1: 0.9999, 2: 0.0001}, HEIGHT) == {1: 19, 2: 1}


def test_ticks_are_round() -> None:
    assert ticks(50, 8) == [0, 10, 20, 30, 40, 50]
    assert ticks(7.3, 8) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert ticks(0.9, 5) == [0, 0.2, 0.4, 0.6, 0.8]


@pytest.mark.parametrize("width", [40, 61, 80])
def test_the_plot_fits_its_width(width: int) -> None:
    lines = plot(responses(), MOMENTS, SERIES, width, PLAIN)
    assert max(map(columns, lines[: HEIGHT + 3])) <= width
    assert "\x1b" not in "".join(lines)
    assert all(line.isascii() for line in lines[: HEIGHT + 3])


def test_the_plot_shows_generations_over_time() -> None:
    lines = plot(responses(), MOMENTS, SERIES, 80, PLAIN)
    top, lowest, marks = lines[0], lines[HEIGHT - 1], lines[HEIGHT + 1]
    canary = slice(GUTTER + 38, GUTTER + 64)
    assert top[GUTTER : GUTTER + 35] == "." * 35
    assert set(top[canary]) == {":"}
    assert set(lowest[canary]) == {"."}
    assert {line[-1] for line in lines[:HEIGHT]} == {"X"}
    assert [marks.index(letter) - GUTTER for letter in "ab"] == [36, 65]
    assert "b     9.0 s  deployd rollback demo" in "\n".join(lines)


def test_colours_do_not_change_the_layout() -> None:
    import re

    painted = [re.sub(r"\x1b\[\d*m", "", line) for line in plot(responses(), MOMENTS, SERIES, 80, Paint(on=True))]
    assert painted == plot(responses(), MOMENTS, SERIES, 80, PLAIN)


def test_time_without_responses_is_a_gap() -> None:
    samples = [Sample(float(at), 1) for at in range(101) if not 40 < at < 60]
    columns_of = plot(samples, [], SERIES[:1], 80, PLAIN)[0][GUTTER:]
    assert " " in columns_of
    assert columns_of.strip(". ") == ""


def test_the_svg_is_well_formed_and_complete() -> None:
    root = ET.fromstring(svg("who <served>", responses(), MOMENTS, SERIES))
    assert root.tag == f"{SVG}svg"
    assert root.findtext(f"{SVG}title") == "who <served>"
    texts = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert {one.label for one in SERIES} <= set(texts)
    assert {moment.text for moment in MOMENTS} <= set(texts)
    assert {"0 %", "100 %", "seconds", "a", "b"} <= set(texts)
    dashed = [line for line in root.iter(f"{SVG}line") if line.get("stroke-dasharray")]
    assert len(dashed) == len(MOMENTS)


def test_the_areas_of_the_svg_match_the_shares() -> None:
    root = ET.fromstring(svg("t", responses(), MOMENTS, SERIES))
    areas = [path for path in root.iter(f"{SVG}path") if path.get("fill") != "none"]
    steps = [(path.get("d") or "").count("M") for path in areas]
    assert steps[0] == pytest.approx(STEPS * 0.9, abs=2)  # generation 1 served for nine seconds of ten
    assert steps[2] == pytest.approx(STEPS * 0.1, abs=2)
