"""The health of an app, by which `deployd status --exit-code` and the health unit go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.model.address import Address
from deployd.model.rollout import Pause, Phase, Rollout
from deployd.plan.health import Health, health

OPEN = Address("127.0.0.1:80", "a.socket", True)
CLOSED = Address("127.0.0.1:81", "a.socket", False, "in use")
ADDRESSES = st.lists(st.sampled_from([OPEN, CLOSED]))


@given(st.integers(1, 9), st.integers(0, 9), ADDRESSES)
def test_an_app_is_ok_only_with_all_instances_and_addresses(desired: int, ready: int, addresses: list[Address]) -> None:
    found = health(desired, ready, addresses, None, up=True)
    assert (found is Health.OK) == (ready >= desired and CLOSED not in addresses)
    assert (found is Health.DOWN) == (not ready or (CLOSED in addresses and OPEN not in addresses))
    assert health(desired, ready, addresses, None, up=False) is Health.STOPPED
    assert health(0, ready, addresses, None, up=False) is Health.OK  # not deployed


def test_one_open_socket_of_an_address_is_enough() -> None:
    assert health(1, 1, [OPEN, Address(OPEN.address, "b.socket", False)], None, up=True) is Health.OK


@pytest.mark.parametrize(
    ("pause", "expected"),
    [
        (Pause.HELD, Health.OK),
        (Pause.REQUESTED, Health.OK),
        (Pause.FAILED, Health.DEGRADED),
        (Pause.STRANDED, Health.DEGRADED),
    ],
)
def test_a_rollout_that_waits_for_a_decision_degrades(pause: Pause, expected: Health) -> None:
    rollout = Rollout("a", 1, 2, Phase.PAUSED, pause=pause)
    assert health(1, 1, [OPEN], rollout, up=True) is expected
