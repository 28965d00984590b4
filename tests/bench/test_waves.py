"""The figure of reconnects."""

from __future__ import annotations

import pytest

from tests.bench.waves import peak


@pytest.mark.parametrize(
    ("times", "expected"), [([7.5], 1), ([0.0, 1.0, 2.0], 1), ([0.0, 0.1, 0.2, 3.0], 3), ([0.0, 0.5, 1.0], 4 / 3)]
)
def test_the_fullest_second_is_compared_with_all(times: list[float], expected: float) -> None:
    assert peak(times) == pytest.approx(expected)
