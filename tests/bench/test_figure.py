"""The table of a bench: aims met and missed, and the format of figures."""

from __future__ import annotations

import json
import math

import pytest

from tests.bench.figure import Figure, number, ratio, table


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Figure("cost", 9.9, "ms", 10), True),
        (Figure("cost", 10, "ms", 10), True),
        (Figure("cost", 10.1, "ms", 10), False),
        (Figure("failed", 0, "", 0), True),
        (Figure("failed", 1, "", 0), False),
        (Figure("only explains", 1, "ms"), None),
        (Figure("not measured", math.nan, "ms", 1), False),
    ],
)
def test_met_is_at_most_the_aim(figure: Figure, met: bool | None) -> None:
    assert figure.met is met


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.00"),
        (1.054, "1.05"),
        (9.996, "10.00"),
        (12.34, "12.3"),
        (123.4, "123"),
        (-12.34, "-12.3"),
        (math.nan, "-"),
    ],
)
def test_figures_have_about_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_the_table_has_figures_aims_and_whether_they_are_met() -> None:
    figures = [Figure("time", 1.2, "times", 1.05), Figure("  of deployd", 4.31, "s"), Figure("failed", 0, "", 0)]
    assert table(figures) == (
        "what              figure         aim\n"
        "time          1.20 times  1.05 times  missed\n"
        "  of deployd      4.31 s\n"
        "failed              0.00        0.00  met\n"
    )


def test_figures_as_json() -> None:
    found = json.loads(json.dumps(Figure("cost", 12.0, "ms", 10.0).to_json()))
    assert found == {"what": "cost", "value": 12.0, "unit": "ms", "aim": 10.0, "met": False}
    assert Figure("gap", math.nan).to_json()["value"] is None


def test_a_ratio_is_the_median_of_the_ratios_of_pairs() -> None:
    assert ratio([2, 30, 4], [1, 10, 1]) == 3  # the slow machine of the second pair cancels out
    with pytest.raises(ValueError, match="shorter"):
        ratio([1, 2], [1])
