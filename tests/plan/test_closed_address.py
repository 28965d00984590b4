"""Crashes at the time of a closed address: those of instances that ran then, and no others."""

from __future__ import annotations

import pytest

from deployd.plan.closed_address import ClosedAddress


@pytest.mark.parametrize(
    ("closed", "crashed", "excused"),
    [
        ([False, False], "i1", False),
        ([False, True], "i0", True),  # it had not been seen since
        ([True], "i0", True),
        ([True, False], "i1", True),  # it was started just before the address was opened
        ([True, False, False], "i1", True),  # its boot took long
        ([True, False, False], "i2", False),
        ([True, False, False, True, False, False], "i1", False),  # it would have been restarted since
        ([True, False, False, True, False, False], "i4", True),
    ],
)
def test_crashes_of_what_ran_while_an_address_was_closed_are_excused(
    closed: list[bool], crashed: str, excused: bool
) -> None:
    known = ClosedAddress()
    for number, is_closed in enumerate(closed):
        known = known.observed([f"i{number}"], closed=is_closed)
    assert known.excuses(crashed) is excused
