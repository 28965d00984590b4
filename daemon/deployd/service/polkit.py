"""Who may change something: root, or whom polkit lets (polkit's D-Bus API, org.freedesktop.PolicyKit1.Authority).

A question that polkit puts to somebody (a password) waits for people, and anybody may have one put. So there are few
of them at a time, of each user and in all, and one ends when its caller leaves the bus. polkit takes details from root
or the action's owner only.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Coroutine, Mapping
from typing import Any

from deployd.apps.caller import Caller
from deployd.apps.quota import LIMITS_EXCEEDED
from deployd.bus import DBUS, Bus, BusError
from deployd.config import one_line
from deployd.errors import AccessDenied

AUTHORITY = (
    "org.freedesktop.PolicyKit1",
    "/org/freedesktop/PolicyKit1/Authority",
    "org.freedesktop.PolicyKit1.Authority",
)
ACTION = "org.deployd1.manage"
ALLOW_USER_INTERACTION = 1
INTERACTIVE_TIMEOUT = 120.0
"""Seconds: somebody may have to type a password."""
TIMEOUT = 10.0

MOST_PROMPTS = 4
"""Questions of one user that wait for people."""
MOST_PROMPTS_IN_ALL = 24
MOST_CHECKS = 16
"""Checks of one user that polkit answers without asking for a password, at a time."""


class Polkit:
    """Asks for each call; keeps nothing, so a withdrawn consent counts at once."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._asking: Counter[tuple[int, bool]] = Counter()
        self._numbers = itertools.count(1)
        self._ending: set[asyncio.Task[None]] = set()

    async def authorise(self, caller: Caller, what: str, details: Mapping[str, str]) -> None:
        """Raises AccessDenied unless `caller` may do `what`; polkit's rules see `details`."""
        if caller.root:
            return
        self._refuse_flood(caller, what)
        key = caller.uid, caller.interactive
        self._asking[key] += 1
        try:
            allowed, could_be_asked = await self._check(caller, details)
        except BusError as error:
            raise AccessDenied(f"{what} needs root: polkit cannot be asked ({error.message})") from error
        finally:
            self._asking[key] -= 1
            self._asking += Counter()  # drops what is 0
        if allowed:
            return
        hint = "try it with sudo"
        if could_be_asked and not caller.interactive:
            hint += ", or on a terminal, where polkit may ask for a password"
        raise AccessDenied(f"{what} needs root or polkit's consent to {ACTION}; {hint}")

    def _refuse_flood(self, caller: Caller, what: str) -> None:
        own = self._asking[caller.uid, caller.interactive]
        prompts = sum(count for (_, interactive), count in self._asking.items() if interactive)
        if own >= (MOST_PROMPTS if caller.interactive else MOST_CHECKS):
            text = f"{own} questions of polkit about user {caller.uid} wait for an answer; answer them, then try again"
            raise BusError(LIMITS_EXCEEDED, f"{what}: {text}")
        if caller.interactive and prompts >= MOST_PROMPTS_IN_ALL:
            raise BusError(
                LIMITS_EXCEEDED, f"{what}: {prompts} questions of polkit wait for an answer; try again later"
            )

    async def _check(self, caller: Caller, details: Mapping[str, str]) -> tuple[bool, bool]:
        """Is it allowed, and could it be if somebody were asked? Raises BusError."""
        name = f"deployd-{next(self._numbers)}"
        body = [
            ["system-bus-name", {"name": ("s", caller.sender)}],
            ACTION,
            {key: one_line(value) for key, value in details.items()},
            ALLOW_USER_INTERACTION if caller.interactive else 0,
            name,
        ]
        timeout = INTERACTIVE_TIMEOUT if caller.interactive else TIMEOUT
        call = self._bus.call(*AUTHORITY, "CheckAuthorization", "(sa{sv})sa{ss}us", body, timeout=timeout)
        if not caller.interactive:
            ((allowed, challenge, _),) = await call
            return allowed, challenge
        asking = asyncio.ensure_future(call)
        gone = asyncio.ensure_future(self._departure(caller.sender))
        waiting: set[asyncio.Future[object]] = {asking, gone}  # type: ignore[arg-type]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done() and gone.exception() is not None:
                await asyncio.wait({asking})  # it then ends by its own deadline
            if not asking.done():
                raise BusError("org.freedesktop.DBus.Error.NameHasNoOwner", "the caller has left the bus")
            ((allowed, challenge, _),) = asking.result()
            return allowed, challenge
        finally:
            if not asking.done() or asking.cancelled() or asking.exception() is not None:
                self._cancel(name)
            for item in waiting:
                item.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _departure(self, sender: str) -> None:
        """Wait until the connection `sender` is closed."""
        left = asyncio.Event()
        end = await self._bus.follow(sender, lambda _: left.set())
        try:
            (there,) = await self._bus.call(*DBUS, "NameHasOwner", "s", [sender])
            if there:
                await left.wait()
        finally:
            end()

    def _cancel(self, name: str) -> None:
        self._later(self._bus.call(*AUTHORITY, "CancelCheckAuthorization", "s", [name]))

    def _later(self, call: Coroutine[Any, Any, list[Any]]) -> None:
        """Make a call without waiting for the reply, which may never come."""

        async def ignoring() -> None:
            with contextlib.suppress(BusError):
                await call

        task = asyncio.ensure_future(ignoring())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
