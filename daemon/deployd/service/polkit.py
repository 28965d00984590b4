"""Authorisation by polkit for callers other than root (org.freedesktop.PolicyKit1.Authority).

Any user can cause polkit to ask for a password, and such a prompt waits for a person. So each user may have only a few
prompts at a time, as may all users together, and a prompt ends when its caller disconnects. polkit accepts details from
root and the owner of the action only.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any

from deployd.apps.caller import Caller
from deployd.apps.quota import LIMITS_EXCEEDED
from deployd.bus import DBUS, Bus, BusError
from deployd.config import one_line
from deployd.errors import AccessDenied
from deployd.service.actions import Action

AUTHORITY = (
    "org.freedesktop.PolicyKit1",
    "/org/freedesktop/PolicyKit1/Authority",
    "org.freedesktop.PolicyKit1.Authority",
)
ALLOW_USER_INTERACTION = 1
INTERACTIVE_TIMEOUT = 120.0
"""Seconds that polkit has for an answer if it may ask for a password."""
TIMEOUT = 10.0
"""Seconds that polkit has otherwise."""
QUERY_TIMEOUT = 3.0
"""Seconds that polkit has while a query waits, to which the answer without journal lines is correct, too."""

MOST_PROMPTS = 4
"""Password prompts for one user at a time."""
MOST_PROMPTS_IN_ALL = 24
"""Password prompts for all users at a time."""
MOST_CHECKS = 16
"""Checks for one user at a time that need no password."""


class Polkit:
    """Asks polkit for each call and caches nothing, so withdrawn consent takes effect immediately."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._asking: Counter[tuple[int, bool]] = Counter()
        self._numbers = itertools.count(1)
        self._ending: set[asyncio.Task[None]] = set()

    async def authorise(self, caller: Caller, action: Action, details: Mapping[str, str]) -> None:
        """Raise AccessDenied unless the caller may do what `details` say: "verb" and "app", "" for no single app.

        Raises BusError (LimitsExceeded) if too many checks are under way.
        """
        if caller.trusted:
            return
        verb, app = details["verb"], details["app"]
        self._refuse_flood(caller, f"{verb} of {app or 'deployd'}")
        timeout = INTERACTIVE_TIMEOUT if caller.interactive else TIMEOUT
        try:
            allowed, could_be_asked = await self._counted(caller, action, details, timeout)
        except BusError as error:
            sentence = f"not allowed: {verb} needs root, because polkit cannot be asked ({error.message})"
            raise AccessDenied(sentence) from error
        if allowed:
            return
        hint = "try again with sudo"
        if could_be_asked and not caller.interactive:
            hint += ", or on a terminal, where polkit may ask for a password"
        whose = f" for {app}" if app else ""
        raise AccessDenied(f"not allowed: {verb} needs root or the polkit action {action}{whose}; {hint}")

    async def allows(self, caller: Caller, action: Action, details: Mapping[str, str]) -> bool:
        """True if polkit allows it without a prompt. False if it does not answer, or has too much to answer."""
        quiet = replace(caller, interactive=False)
        try:
            self._refuse_flood(quiet, details["verb"])
            allowed, _ = await self._counted(quiet, action, details, QUERY_TIMEOUT)
        except BusError:
            return False
        return allowed

    async def _counted(
        self, caller: Caller, action: Action, details: Mapping[str, str], timeout: float
    ) -> tuple[bool, bool]:
        """Check as `_check` does, and count the check while it is under way."""
        key = caller.uid, caller.interactive
        self._asking[key] += 1
        try:
            return await self._check(caller, action, details, timeout)
        finally:
            self._asking[key] -= 1
            self._asking += Counter()  # drops what is 0

    def _refuse_flood(self, caller: Caller, what: str) -> None:
        own = self._asking[caller.uid, caller.interactive]
        prompts = sum(count for (_, interactive), count in self._asking.items() if interactive)
        if own >= (MOST_PROMPTS if caller.interactive else MOST_CHECKS):
            text = f"polkit has {own} checks of user {caller.uid} to answer; answer its prompts, then try again"
            raise BusError(LIMITS_EXCEEDED, f"{what}: {text}")
        if caller.interactive and prompts >= MOST_PROMPTS_IN_ALL:
            raise BusError(LIMITS_EXCEEDED, f"{what}: polkit waits for an answer to {prompts} prompts; try again later")

    async def _check(
        self, caller: Caller, action: Action, details: Mapping[str, str], timeout: float
    ) -> tuple[bool, bool]:
        """Return whether the caller is authorised, and whether it could be after a prompt. Raises BusError."""
        name = f"deployd-{next(self._numbers)}"
        body = [
            ["system-bus-name", {"name": ("s", caller.sender)}],
            action,
            {key: one_line(value) for key, value in details.items()},
            ALLOW_USER_INTERACTION if caller.interactive else 0,
            name,
        ]
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
                await asyncio.wait({asking})  # its own deadline ends it
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
