"""Authorisation of changes: root needs none, other users polkit's; the number of checks that may wait is limited."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock, create_autospec

import pytest

from deployd.apps.caller import Caller
from deployd.bus import Bus, BusError
from deployd.errors import AccessDenied
from deployd.service.actions import Action
from deployd.service.polkit import MOST_CHECKS, MOST_PROMPTS, MOST_PROMPTS_IN_ALL, Polkit

ROOT = Caller(":1.1", 0)
SCRIPT = Caller(":1.42", 1000)
DETAILS = {"app": "demo", "verb": "rollout", "release": "/srv/demo/v2"}


def terminal(uid: int = 1000, number: int = 42) -> Caller:
    return Caller(f":1.{number}", uid, interactive=True)


class Bench:
    """A bus on which polkit answers `answer`, fails with it, or, for None, does not reply."""

    def __init__(self, answer: bool | BusError | None, challenge: bool = False) -> None:
        self.bus = create_autospec(Bus, instance=True)
        self.bus.call = AsyncMock(side_effect=self.call)
        self.bus.follow = AsyncMock(side_effect=self.follow)
        self.answer, self.challenge = answer, challenge
        self.asked: list[Any] = []
        self.others: list[tuple[str, list[Any]]] = []
        self.followed: list[tuple[str, Callable[[str], None]]] = []
        self.polkit = Polkit(self.bus)

    async def call(self, *arguments: Any, **options: Any) -> list[Any]:
        member, body = arguments[3], arguments[5]
        if member == "CheckAuthorization":
            self.asked.append(body)
            if isinstance(self.answer, BusError):
                raise self.answer
            while self.answer is None:
                await asyncio.Event().wait()
            return [[self.answer, self.challenge, {}]]
        self.others.append((member, body))
        return [True] if member == "NameHasOwner" else []

    def follow(self, name: str, handler: Callable[[str], None]) -> Callable[[], None]:
        self.followed.append((name, handler))
        return lambda: self.followed.remove((name, handler))

    def leave(self, name: str) -> None:
        for followed, handler in list(self.followed):
            if followed == name:
                handler("")

    async def authorise(self, caller: Caller) -> None:
        await self.polkit.authorise(caller, Action.ROLLOUT, DETAILS)


def authorise(bench: Bench, caller: Caller) -> None:
    asyncio.run(bench.authorise(caller))


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_root_needs_no_consent() -> None:
    bench = Bench(False)
    authorise(bench, ROOT)
    assert bench.asked == []


@pytest.mark.parametrize(("caller", "flags"), [(SCRIPT, 0), (terminal(), 1)])
def test_other_users_need_consent_to_the_action(caller: Caller, flags: int) -> None:
    bench = Bench(True)
    authorise(bench, caller)
    [(subject, action, details, interaction, name)] = bench.asked
    assert subject == ["system-bus-name", {"name": ("s", ":1.42")}]
    assert (action, details, interaction) == ("org.deployd1.rollout", DETAILS, flags)
    assert name
    assert "CancelCheckAuthorization" not in dict(bench.others)


def test_details_are_short_and_printable() -> None:
    bench = Bench(True)
    details = {**DETAILS, "release": "/srv/\x1b[31m\n" + "x" * 10_000}
    asyncio.run(bench.polkit.authorise(SCRIPT, Action.ROLLOUT, details))
    release = bench.asked[0][2]["release"]
    assert len(release) <= 1000
    assert release.isprintable()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (False, "not allowed: rollout needs root or the polkit action org.deployd1.rollout for demo; try again"),
        (BusError("org.freedesktop.DBus.Error.ServiceUnknown", "no polkit"), "polkit cannot be asked"),
        (BusError("org.freedesktop.DBus.Error.NoReply", "asleep"), "polkit cannot be asked"),
    ],
)
@pytest.mark.parametrize("caller", [SCRIPT, terminal()])
def test_a_call_without_consent_is_refused(caller: Caller, answer: bool | BusError, says: str) -> None:
    with pytest.raises(AccessDenied, match=says):
        authorise(Bench(answer), caller)


def test_the_error_for_what_concerns_all_apps_names_none() -> None:
    details = {"app": "", "verb": "repair", "release": ""}
    with pytest.raises(AccessDenied, match=r"not allowed: repair needs .* org\.deployd1\.configure; try again"):
        asyncio.run(Bench(False).polkit.authorise(SCRIPT, Action.CONFIGURE, details))


@pytest.mark.parametrize("caller", [SCRIPT, terminal()])
def test_a_query_never_asks_for_a_password(caller: Caller) -> None:
    bench = Bench(True)
    details = {**DETAILS, "verb": "logs"}
    assert asyncio.run(bench.polkit.allows(caller, Action.READ_LOGS, details))
    assert [(action, flags) for _, action, _, flags, _ in bench.asked] == [("org.deployd1.read-logs", 0)]


@pytest.mark.parametrize("answer", [False, BusError("org.freedesktop.DBus.Error.NoReply", "asleep")])
def test_a_query_without_consent_is_answered_all_the_same(answer: bool | BusError) -> None:
    assert not asyncio.run(Bench(answer).polkit.allows(SCRIPT, Action.READ_LOGS, DETAILS))


def test_the_error_for_a_script_mentions_a_terminal_if_one_would_help() -> None:
    with pytest.raises(AccessDenied, match="on a terminal"):
        authorise(Bench(False, challenge=True), SCRIPT)
    with pytest.raises(AccessDenied) as refused:
        authorise(Bench(False), SCRIPT)
    assert "terminal" not in str(refused.value)


def test_a_prompt_ends_when_its_caller_disconnects() -> None:
    async def test() -> None:
        bench = Bench(None)
        waiting = asyncio.ensure_future(bench.authorise(terminal()))
        await turns()
        bench.leave(":1.7")
        await turns()
        assert not waiting.done()
        bench.leave(":1.42")
        with pytest.raises(AccessDenied, match="has left the bus"):
            await waiting
        await turns()
        assert ("CancelCheckAuthorization", [bench.asked[0][4]]) in bench.others
        assert bench.followed == []

    asyncio.run(test())


def test_the_number_of_prompts_is_limited_and_delays_no_other_caller() -> None:
    async def test() -> None:
        bench = Bench(None)
        waiting = [asyncio.ensure_future(bench.authorise(terminal(number=n))) for n in range(MOST_PROMPTS)]
        await turns()
        with pytest.raises(BusError, match=f"polkit has {MOST_PROMPTS} checks of user 1000 to answer") as refused:
            await bench.authorise(terminal())
        assert refused.value.name == "org.freedesktop.DBus.Error.LimitsExceeded"
        await bench.authorise(ROOT)
        uids = range(2000, 2000 + MOST_PROMPTS_IN_ALL)
        more = [asyncio.ensure_future(bench.authorise(terminal(uid, uid))) for uid in uids]
        await turns()
        assert sum(item.done() for item in more) == MOST_PROMPTS, "limit for all users together"
        bench.answer = True
        await bench.authorise(SCRIPT)
        for item in (*waiting, *more):
            item.cancel()
        with contextlib.suppress(BaseException):
            await asyncio.gather(*waiting, *more)
        await turns()
        assert (
            len([member for member, _ in bench.others if member == "CancelCheckAuthorization"]) == len(bench.asked) - 1
        )
        await bench.authorise(terminal())

    asyncio.run(test())


def test_the_number_of_checks_without_a_prompt_is_limited() -> None:
    async def test() -> None:
        bench = Bench(None)
        waiting = [asyncio.ensure_future(bench.authorise(SCRIPT)) for _ in range(MOST_CHECKS)]
        await turns()
        with pytest.raises(BusError, match=f"polkit has {MOST_CHECKS} checks"):
            await bench.authorise(SCRIPT)
        assert not await bench.polkit.allows(terminal(), Action.READ_LOGS, DETAILS)
        for item in waiting:
            item.cancel()

    asyncio.run(test())
