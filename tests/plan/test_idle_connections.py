"""Which connections may be closed under an instance that is to be frozen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.model.traffic import Traffic
from deployd.plan.idle_connections import QUIET, UNCLEAR, Ending, ending

times = st.floats(0, 120)
traffic = st.builds(Traffic, times, times, st.booleans())


@given(st.lists(traffic))
def test_none_is_closed_while_one_is_in_use(found: list[Traffic]) -> None:
    alone = [ending([item]) for item in found]
    if ending(found) is Ending.CLOSE:
        assert set(alone) <= {Ending.CLOSE}
    else:
        assert ending(found) in alone
    for item, result in zip(found, alone, strict=True):
        owes = item.queued or item.received < item.sent
        assert result is Ending.IN_USE or (not owes and min(item.sent, item.received) >= QUIET)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (Traffic(9.0, 9.1), Ending.CLOSE),
        (Traffic(4.0, 4.1), Ending.IN_USE),
        (Traffic(9.1, 9.0), Ending.IN_USE),
        (Traffic(QUIET, QUIET), Ending.WAIT),
        (Traffic(UNCLEAR, UNCLEAR), Ending.CLOSE),
        (Traffic(90.0, 90.0, queued=True), Ending.IN_USE),
    ],
)
def test_a_connection_is_idle_if_the_instance_sent_last_and_nothing_follows(item: Traffic, expected: Ending) -> None:
    assert ending([item]) is expected


def test_an_instance_without_connections_can_be_frozen() -> None:
    assert ending([]) is Ending.CLOSE
