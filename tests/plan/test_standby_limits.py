"""The limits of standby: which instances may enter it, and which must be stopped."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from deployd.model.pace import Memory
from deployd.plan.standby import NEVER, Resting, leaving, refusal, until

MIB = 2**20
HALF = Memory(50, percent=True)


def resting(number: int, since: float = 0.0, held: int | None = 10 * MIB) -> Resting:
    return Resting(number, 4, since, held)


def stopped(
    *items: Resting, lasts: float = 600.0, now: float = 100.0, available: int | None = 1000 * MIB, **more: Any
) -> Any:
    left = leaving(
        items, lasts, now, available=available, limit=more.get("limit", HALF), short=more.get("short", False)
    )
    return [item.number for item in left]


def test_each_instance_is_stopped_at_its_time_limit() -> None:
    assert stopped(resting(1, 0.0), resting(2, 50.0), now=600.0) == [1]
    assert until((resting(1, 20.0), resting(2, 10.0)), 600.0) == 610.0
    assert until((), 600.0) is None
    (first,) = leaving((resting(1),), 600.0, 600.0, available=None, limit=HALF, short=False)
    assert first.reason == "its time in standby (600 s) is over"


def test_all_instances_are_stopped_when_standby_is_switched_off() -> None:
    assert stopped(resting(1, 99.9), resting(2, 50.0), lasts=0.0) == [1, 2]


def test_the_highest_numbers_are_stopped_until_the_rest_fits_the_memory_limit() -> None:
    many = [resting(number, held=100 * MIB) for number in (3, 1, 2)]
    assert stopped(*many, available=600 * MIB) == []
    assert stopped(*many, available=599 * MIB) == [3]
    assert stopped(*many, available=100 * MIB) == [3, 2, 1]
    assert stopped(*many, limit=Memory(200 * MIB), available=10**12) == [3]


def test_all_instances_are_stopped_under_memory_pressure() -> None:
    assert stopped(resting(1), resting(2), short=True) == [1, 2]


def test_unknown_memory_is_no_reason_to_stop() -> None:
    assert stopped(resting(1, held=None), available=1) == []
    assert stopped(resting(1), available=None) == []


@given(
    st.lists(st.builds(resting, st.integers(1, 99), st.floats(0, 1000), st.none() | st.integers(0, 2**40)), max_size=9),
    st.floats(0, 1000),
    st.none() | st.integers(0, 2**42),
    st.builds(Memory, st.integers(0, 100), st.just(True)) | st.builds(Memory, st.integers(0, 2**42)),
    st.booleans(),
)
def test_the_remaining_instances_are_within_both_limits(
    items: list[Resting], lasts: float, available: int | None, limit: Memory, short: bool
) -> None:
    items = list({item.number: item for item in items}.values())
    gone = {item.number for item in leaving(items, lasts, 1000.0, available=available, limit=limit, short=short)}
    left = [item for item in items if item.number not in gone]
    assert gone <= {item.number for item in items}
    assert all(item.since + lasts > 1000.0 for item in left)
    assert not (short and left)
    if available is not None:
        assert sum(item.memory or 0 for item in left) <= limit.of(available)


def test_which_instances_may_enter_standby() -> None:
    def reason(
        held: int | None = 100 * MIB, *others: Resting, available: int | None = 1000 * MIB, watchdog: int = 0
    ) -> str:
        return refusal(held, others, available=available, limit=HALF, watchdog=watchdog)

    assert reason() == reason(watchdog=NEVER) == ""
    assert "WatchdogSec=" in reason(watchdog=30_000_000)
    assert reason(500 * MIB) == ""
    assert reason(500 * MIB, resting(1, held=1 * MIB)) == (
        "501 MiB in standby would exceed its share (50%: 500 MiB) of memory"
    )
    assert "memory usage is unknown" in reason(None)
    assert "available memory is unknown" in reason(available=None)
