"""Which changes of an app's addresses are events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from deployd.model.address import NO_INSTANCE, STOPPED, Address
from deployd.model.event import EventName
from deployd.routing.address_log import AddressLog

OPEN = Address("[::]:80", "demo.socket", True)
AWAY = Address("[::]:80", "demo.socket", True, "no interface of this machine has the address")
IN_USE = Address("[::]:80", "demo.socket", False, "in use by nginx")


def closed(reason: str) -> Address:
    return Address("[::]:80", "demo.socket", False, reason)


@pytest.mark.parametrize(
    ("noted", "events"),
    [
        ([OPEN], []),
        ([closed(STOPPED), closed(NO_INSTANCE), OPEN], []),
        ([OPEN, closed(NO_INSTANCE), OPEN], [False, True]),
        ([OPEN, closed(STOPPED), OPEN], []),
        ([IN_USE, IN_USE, OPEN, OPEN], [False, True]),
        ([OPEN, IN_USE, closed("in use by other"), OPEN], [False, False, True]),
        ([IN_USE, closed(STOPPED), OPEN], [False, True]),
        ([AWAY, OPEN], [True]),
        ([OPEN, AWAY], []),
    ],
)
def test_only_what_is_unexpected_is_an_event(noted: list[Address], events: list[bool]) -> None:
    emitted: list[bool] = []
    changes: list[None] = []

    def emit(name: EventName, fields: Mapping[str, Any]) -> None:
        assert name is EventName.ADDRESS
        emitted.append(fields["open"])

    log = AddressLog(emit=emit, changed=lambda: changes.append(None))
    for address in noted:
        log.note([address])
    assert emitted == events
    assert len(changes) == sum(one != other for one, other in zip([None, *noted], noted, strict=False))
