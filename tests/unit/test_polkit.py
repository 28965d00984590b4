"""Who is asked before something is changed: nobody for root, polkit for all others."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn
from unittest.mock import AsyncMock, create_autospec

import pytest

from deployd.bus import Bus, BusError
from deployd.errors import AccessDenied
from deployd.service.polkit import Polkit


class Asked:
    """A bus on which the caller is `uid`, and polkit answers `answer` or fails with it."""

    def __init__(self, uid: int, answer: bool | BusError) -> None:
        self.bus = create_autospec(Bus, instance=True)
        self.bus.call = AsyncMock(side_effect=self.call)
        self.uid = uid
        self.answer = answer
        self.asked: list[Any] = []

    async def call(self, *arguments: Any, **options: Any) -> list[Any]:
        if arguments[3] == "GetConnectionUnixUser":
            return [self.uid]
        self.asked.append(arguments[5])
        if isinstance(self.answer, BusError):
            raise self.answer
        return [[self.answer, False, {}]]

    def authorise(self) -> None:
        asyncio.run(Polkit(self.bus).authorise(":1.42", "Rollout of demo"))


def test_root_needs_nobodys_consent() -> None:
    caller = Asked(0, False)
    caller.authorise()
    assert caller.asked == []


def test_others_need_the_consent_of_polkit_to_the_documented_action() -> None:
    caller = Asked(1000, True)
    caller.authorise()
    [(subject, action, _, interaction, _)] = caller.asked
    assert subject == ["system-bus-name", {"name": ("s", ":1.42")}]
    assert (action, interaction) == ("org.deployd1.manage", 1)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (False, "Rollout of demo needs root or polkit's consent to org.deployd1.manage"),
        (BusError("org.freedesktop.DBus.Error.ServiceUnknown", "no polkit"), "polkit cannot be asked"),
        (BusError("org.freedesktop.DBus.Error.NoReply", "asleep"), "polkit cannot be asked"),
    ],
)
def test_no_consent_no_change(answer: bool | BusError, says: str) -> None:
    with pytest.raises(AccessDenied, match=says):
        Asked(1000, answer).authorise()


def test_a_caller_that_left_the_bus_is_refused() -> None:
    async def unknown(*_: Any, **__: Any) -> NoReturn:
        raise BusError("org.freedesktop.DBus.Error.NameHasNoOwner", "it is gone")

    caller = Asked(0, True)
    caller.bus.call.side_effect = unknown
    with pytest.raises(AccessDenied, match="the caller is unknown"):
        caller.authorise()
