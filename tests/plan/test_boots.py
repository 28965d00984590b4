"""The gate timeout learned from past boots."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.plan.boots import FACTOR, KNOWN, LADDER, gate_timeout, summary

SECONDS = st.floats(0.001, 10_000.0)


@pytest.mark.parametrize(
    ("boots", "timeout"),
    [([], 60.0), ([0.1], 60.0), ([15.0], 60.0), ([15.1], 120.0), ([1.0, 20.0, 1.0], 120.0), ([4000.0], 1800.0)],
)
def test_examples(boots: list[float], timeout: float) -> None:
    assert gate_timeout(boots) == timeout


@given(st.lists(SECONDS, min_size=1, max_size=80))
def test_the_timeout_is_on_the_ladder_and_exceeds_the_slowest_known_boot(boots: list[float]) -> None:
    timeout = gate_timeout(boots)
    assert timeout in LADDER
    assert timeout == LADDER[-1] or timeout >= FACTOR * max(boots[:KNOWN])


@given(st.lists(SECONDS, min_size=1, max_size=80), SECONDS)
def test_a_slower_boot_never_shortens_the_timeout(boots: list[float], slower: float) -> None:
    known = boots[: KNOWN - 1]
    assert gate_timeout([max(*boots, slower), *known]) >= gate_timeout(known or [min(boots)])


@given(st.lists(SECONDS, min_size=KNOWN, max_size=KNOWN), SECONDS)
def test_old_boots_are_ignored(boots: list[float], older: float) -> None:
    assert gate_timeout([*boots, older]) == gate_timeout(boots)


@given(SECONDS, st.floats(0.9, 1.1))
def test_the_timeout_does_not_change_with_every_boot(boot: float, noise: float) -> None:
    """Small differences move it by at most one step of the ladder."""
    now, later = gate_timeout([boot]), gate_timeout([boot * noise])
    assert abs(LADDER.index(now) - LADDER.index(later)) <= 1


def test_without_past_boots_the_timeout_is_the_lowest() -> None:
    assert gate_timeout([]) == LADDER[0]
    assert list(LADDER) == sorted(LADDER)


def test_summary() -> None:
    assert summary([]) is None
    assert summary([3.0, 1.0, 2.0]) == {"count": 3, "median": 2.0, "max": 3.0}
    assert summary([1.0] * KNOWN + [9.0]) == {"count": KNOWN, "median": 1.0, "max": 1.0}
