"""The asyncio client of org.deployd1: all that the command knows of the daemon.

Owns the names and object paths, and how to wait for a rollout across a death of the daemon. Imports of deployd only
bus, errors and replies, nothing that the daemon runs on.

Answers are the JSON objects of units/org.deployd1.xml as plain dicts, not classes: the command passes them on
as they are (``--json``), and a daemon newer than the command may say more than the command knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import re
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any, Self

from deployd.bus import Bus, BusError, Signal
from deployd.errors import DeploydError, Unreachable
from deployd.replies import Json, error_from, json_object

NAME = "org.deployd1"
ROOT = "/org/deployd1"
MANAGER = "org.deployd1.Manager"
APP = "org.deployd1.App"
DBUS_NAME, DBUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"

READ_TIMEOUT = 10.0
LOOK_TIMEOUT = 60.0
"""Release directories are looked at: tens of thousands of files each, perhaps on a slow disk; and users that are not
root wait for their turn."""
CHANGE_TIMEOUT = 120.0
"""Changing calls may wait for polkit's question or a daemon-reload."""
PATIENCE = 60.0
"""How long a daemon that went away may stay away before waiting for it is given up."""
DAY = 86400.0
BEGIN_TIMEOUT = 30 * DAY
"""What begins a rollout first runs its hooks, which have timeouts of their own, of up to a day each. A daemon that dies
meanwhile is told by the bus, at once."""

CHANGES = frozenset(
    (
        "Reload",
        "Repair",
        "Apply",
        "Rollout",
        "Rollback",
        "Recall",
        "Restart",
        "Scale",
        "Pause",
        "Resume",
        "Abort",
        "SetWeight",
        "Remove",
    )
)
"""Methods that polkit may have to be asked about."""

SIGNATURES: dict[type, str] = {str: "s", bool: "b", int: "u", float: "d"}


def app_path(app: str) -> str:
    """The object of an app, its name encoded as sd_bus_path_encode(3) does it."""
    encoded = re.sub(rb"\A[0-9]|[^A-Za-z0-9]", lambda byte: b"_%02x" % ord(byte[0]), os.fsencode(app))
    return f"{ROOT}/app/{encoded.decode() or '_'}"


class Client:
    """One connection to the daemon. Every method raises the errors of deployd.errors, and no others."""

    def __init__(self, bus: Bus, interactive: bool = False) -> None:
        self.bus = bus
        self._interactive = interactive

    @classmethod
    async def connect(cls, address: str | None = None, *, timeout: float = 5.0, interactive: bool = False) -> Self:
        """On the system bus, or the one at `address`. The daemon itself is started by the first call.

        `interactive`: a changing call may wait while polkit asks for a password.
        """
        return cls(await Bus.connect(address, timeout), interactive)

    async def close(self) -> None:
        await self.bus.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        await self.close()

    async def present(self) -> bool:
        """Does the daemon run? Unlike any other question this one does not start it."""
        try:
            (found,) = await self.bus.call(DBUS_NAME, DBUS_PATH, DBUS_NAME, "NameHasOwner", "s", [NAME])
        except BusError as error:
            raise error_from(error) from error
        return bool(found)

    async def list_apps(self, *, timeout: float = READ_TIMEOUT) -> list[str]:
        """The names of the apps known."""
        (apps,) = await self._call("", "ListApps", timeout=timeout)
        return [name for name, _ in apps]

    async def check(self, app: str = "", *, timeout: float = LOOK_TIMEOUT) -> Json:
        return json_object(*await self._call("", "Check", "s", [app], timeout=timeout))

    async def describe(self, *, timeout: float = READ_TIMEOUT) -> Json:
        """The status of every app: ``{"apps": [...], "version"}``."""
        return json_object(*await self._call("", "Describe", timeout=timeout))

    async def status(self, app: str, *, timeout: float = READ_TIMEOUT) -> Json:
        return json_object(*await self._call(app, "Describe", timeout=timeout))

    async def history(self, app: str, before: int = 0, *, timeout: float = READ_TIMEOUT) -> Json:
        """The newest generations, or the newest of those with lower numbers than `before`."""
        call = ("HistoryBefore", "t", [before]) if before else ("History",)
        return json_object(*await self._call(app, *call, timeout=timeout))

    async def repair(self, *, timeout: float = CHANGE_TIMEOUT) -> Json:
        """Have a history that cannot be used rebuilt."""
        return json_object(*await self._call("", "Repair", timeout=timeout))

    async def units(self, app: str, *, timeout: float = LOOK_TIMEOUT) -> Json:
        return json_object(*await self._call(app, "Units", timeout=timeout))

    async def plan(self, app: str, *, release: str = "", canary: float = 0, timeout: float = LOOK_TIMEOUT) -> Json:
        options = _options(release=release, canary=canary)
        return json_object(*await self._call(app, "Plan", "a{sv}", [options], timeout=timeout))

    async def releases(self, app: str, *, timeout: float = LOOK_TIMEOUT) -> Json:
        """Every release directory: who needs it, and whether it may be deleted."""
        return json_object(*await self._call(app, "Releases", timeout=timeout))

    async def compare(self, app: str, *, timeout: float = LOOK_TIMEOUT) -> Json:
        """The generations that have instances now, side by side."""
        return json_object(*await self._call(app, "Compare", timeout=timeout))

    async def event(self, app: str, number: int, *, timeout: float = READ_TIMEOUT) -> Json:
        """An event that was broadcast without what is not for everyone, as far as this caller may read it."""
        return json_object(*await self._call(app, "Event", "t", [number], timeout=timeout))

    async def log_matches(self, app: str, generation: int = 0, *, timeout: float = READ_TIMEOUT) -> list[str]:
        """Arguments for journalctl; generation 0 stands for all."""
        (matches,) = await self._call(app, "LogMatches", "t", [generation], timeout=timeout)
        return [str(match) for match in matches]

    async def apply(
        self,
        app: str,
        *,
        start: bool = True,
        canary: float = 0,
        supersede: bool = False,
        timeout: float = BEGIN_TIMEOUT,
    ) -> int:
        """Returns the generation that is being rolled out, 0 for none.

        Here and below: with `supersede` a rollout that is under way gives way; with a `canary` it waits for
        resume or abort when so many new instances have passed beside the old: an int is their number, a float the
        share of new connections that they get.
        """
        options = {"start": ("b", start), **_options(canary=canary, supersede=supersede)}
        return int(*await self._call(app, "Apply", "a{sv}", [options], timeout=timeout))

    async def rollout(
        self,
        app: str,
        *,
        release: str = "",
        cause: str = "",
        canary: float = 0,
        supersede: bool = False,
        timeout: float = BEGIN_TIMEOUT,
    ) -> int:
        options = _options(release=release, cause=cause, canary=canary, supersede=supersede)
        return int(*await self._call(app, "Rollout", "a{sv}", [options], timeout=timeout))

    async def rollback(
        self,
        app: str,
        to: int = 0,
        *,
        supersede: bool = False,
        past_irreversible: bool = False,
        timeout: float = BEGIN_TIMEOUT,
    ) -> int:
        options = _options(supersede=supersede, past_irreversible=past_irreversible)
        return int(*await self._call(app, "Rollback", "ta{sv}", [to, options], timeout=timeout))

    async def restart(self, app: str, *, supersede: bool = False, timeout: float = BEGIN_TIMEOUT) -> int:
        return int(*await self._call(app, "Restart", "a{sv}", [_options(supersede=supersede)], timeout=timeout))

    async def scale(self, app: str, instances: int, *, supersede: bool = False, timeout: float = BEGIN_TIMEOUT) -> int:
        body = [instances, _options(supersede=supersede)]
        return int(*await self._call(app, "Scale", "ua{sv}", body, timeout=timeout))

    async def pause(self, app: str, *, timeout: float = CHANGE_TIMEOUT) -> None:
        await self._call(app, "Pause", timeout=timeout)

    async def resume(self, app: str, *, timeout: float = CHANGE_TIMEOUT) -> None:
        await self._call(app, "Resume", timeout=timeout)

    async def abort(self, app: str, *, past_irreversible: bool = False, timeout: float = CHANGE_TIMEOUT) -> None:
        options = _options(past_irreversible=past_irreversible)
        await self._call(app, "Abort", "a{sv}", [options], timeout=timeout)

    async def weigh(self, app: str, generation: int, share: float, *, timeout: float = CHANGE_TIMEOUT) -> None:
        """Ask for a `share` (0 to 1) of new connections for a generation of the rollout under way."""
        await self._call(app, "SetWeight", "tda{sv}", [generation, float(share), {}], timeout=timeout)

    async def remove(self, app: str, *, timeout: float = CHANGE_TIMEOUT) -> None:
        await self._call(app, "Remove", timeout=timeout)

    def watch(self, app: str) -> Watch:
        """Use as ``async with``, before the rollout is begun, so that none of its events is missed."""
        return Watch(self, APP, "RolloutEvent", app)

    async def events(self, app: str) -> AsyncGenerator[Json, None]:
        """Every event of every rollout of `app`, until the bus goes away."""
        async with self.watch(app) as watch:
            while True:
                item = await watch.next()
                if isinstance(item, dict):
                    yield item

    async def changes(self, app: str = "") -> AsyncGenerator[Json, None]:
        """The status of `app` (of every app for ""), now and after every change; goes on when the daemon is back."""
        async with Watch(self, MANAGER, "AppChanged", app) as watch:
            item: Json | str = "now"
            while True:
                if isinstance(item, dict):
                    yield await self._complete(item)
                elif item:
                    for status in [await self.status(app)] if app else (await self.describe()).get("apps", []):
                        yield status
                item = await watch.next()

    async def _complete(self, status: Json) -> Json:
        """A status that was broadcast with the journal's lines in it, for who may read them."""
        app = str(status.get("app") or "")
        if app and lacks_lines(status):
            with contextlib.suppress(DeploydError):
                return await self.status(app)
        return status

    async def _call(
        self, app: str, member: str, signature: str = "", body: list[Any] | None = None, *, timeout: float
    ) -> list[Any]:
        path, interface = (app_path(app), APP) if app else (ROOT, MANAGER)
        try:
            return await self.bus.call(
                NAME,
                path,
                interface,
                member,
                signature,
                body or [],
                timeout=timeout,
                interactive=self._interactive and member in CHANGES,
            )
        except BusError as error:
            raise error_from(error, app) from error


class Watch:
    """What the daemon says about an app, and whether the daemon is there, in the order it happened."""

    def __init__(self, client: Client, interface: str, member: str, app: str) -> None:
        self._client = client
        self._interface, self._member, self._app = interface, member, app
        self._owner = ""
        self._items: asyncio.Queue[tuple[bool, str]] = asyncio.Queue()
        self._early: asyncio.Queue[Json] | None = None

    async def __aenter__(self) -> Self:
        bus, of_app = self._client.bus, self._interface == APP
        path, signature = (app_path(self._app), "s") if of_app else (ROOT, "ss")
        self._ends: list[Callable[[], None]] = []
        try:
            self._ends.append(await bus.follow(NAME, self._on_owner))
            self._ends.append(
                await bus.subscribe(
                    NAME,
                    self._on_event if of_app else self._on_change,
                    interface=self._interface,
                    member=self._member,
                    signature=signature,
                    path=path,
                )
            )
        except BusError as error:
            self._end()
            raise error_from(error) from error
        self._owner = bus.owner(NAME)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        for end in self._ends:
            end()

    def _on_owner(self, owner: str) -> None:
        self._owner = owner
        self._items.put_nowait((True, owner))

    def _on_event(self, signal: Signal) -> None:
        if not self._told_early(signal.body[0]):
            self._items.put_nowait((False, signal.body[0]))

    def _on_change(self, signal: Signal) -> None:
        if self._app in ("", signal.body[0]):
            self._items.put_nowait((False, signal.body[1]))

    @contextlib.asynccontextmanager
    async def meanwhile(self, early: Callable[[Json], None]) -> AsyncGenerator[None, None]:
        """While a request waits for its answer, `early` is told of the hooks that run before it."""
        events: asyncio.Queue[Json] = asyncio.Queue()
        self._early = events

        async def tell() -> None:
            while True:
                early(await self._complete(await events.get()))
                events.task_done()

        telling = asyncio.ensure_future(tell())
        try:
            yield
        finally:
            self._early = None
            joined = asyncio.ensure_future(events.join())
            waiting: set[asyncio.Future[Any]] = {joined, telling, self._client.bus.disconnected}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in (joined, telling):
                task.cancel()
            await asyncio.gather(joined, telling, return_exceptions=True)

    def _told_early(self, text: str) -> bool:
        if self._early is None:
            return False
        with contextlib.suppress(DeploydError):  # next() raises it, where somebody can act on it
            event = json_object(text)
            if event.get("event") == "hook" and event.get("hook") == "before":
                self._early.put_nowait(event)
                return True
        return False

    async def next(self) -> Json | str:
        """The next thing said (a dict), or the daemon's new bus name ("" when it went away)."""
        get = asyncio.ensure_future(self._items.get())
        waiting: set[asyncio.Future[Any]] = {get, self._client.bus.disconnected}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if get.done():
                is_owner, text = get.result()
                return text if is_owner else await self._complete(json_object(text))
        finally:
            get.cancel()
        raise Unreachable("the D-Bus system bus went away")

    async def _complete(self, item: Json) -> Json:
        """The event with what was left out of the signal, which everyone receives."""
        if self._interface == APP and isinstance(item.get("number"), int) and lacks_lines(item):
            with contextlib.suppress(DeploydError):
                return await self._client.event(self._app, item["number"])
        return item

    async def until_finished(
        self, generation: int, *, deadline: float = DAY, patience: float = PATIENCE
    ) -> AsyncGenerator[Json, None]:
        """The events of the rollout that made `generation`; the last one is ``finished``.

        A rollout outlives the daemon that began it. When the daemon goes away, what came of the rollout is
        asked of its successor once that is there, and events go on from there. Raises Unreachable when it
        stays away for `patience` seconds, or when nothing is heard for `deadline` seconds: a rollout may be held for
        days, by somebody who wants to see how it does.
        """
        clock = asyncio.get_running_loop().time
        back_by, asked = None, self._owner
        while True:
            try:
                async with asyncio.timeout_at(back_by or clock() + deadline):
                    item = await self.next()
            except TimeoutError:
                what = "deployd went away and did not come back" if back_by else f"nothing was heard for {deadline:g} s"
                raise Unreachable(f"{what}; the rollout goes on without this command") from None
            except Unreachable as error:
                raise Unreachable(f"{error}; the rollout goes on without this command") from None
            if isinstance(item, dict):
                if generation not in (item.get("to"), item.get("generation") if "to" not in item else None):
                    continue
                yield item
                if item.get("event") == "finished":
                    return
                continue
            if not item:
                # Not asked now: a question would start the daemon, though somebody may be stopping it on purpose.
                if back_by is None:
                    back_by = clock() + patience
                    yield {"event": "daemon-lost", "app": self._app, "to": generation, "time": _now()}
                continue
            if item == asked and back_by is None:  # it began this rollout, having started or returned just before
                continue
            try:
                row = await self.outcome(generation)
            except Unreachable:
                back_by = back_by or clock() + patience
                continue
            back_by, asked = None, self._owner
            if row.get("result") != "running":
                yield _finished(self._app, row)
                return
            yield {"event": "daemon-back", "app": self._app, "to": generation, "time": _now()}
            if (paused := await self._paused(generation)) is not None:
                yield paused

    async def _paused(self, generation: int) -> Json | None:
        """The event of a rollout that stands, anew: one who comes back must not believe that it goes on."""
        try:
            rollout = (await self._client.status(self._app)).get("rollout") or {}
        except DeploydError:
            return None
        if rollout.get("to") != generation or rollout.get("phase") != "paused":
            return None
        told = {key: rollout.get(key) for key in ("from", "to", "reason", "pause", "waits_for", "how")}
        return {"event": "paused", "app": self._app, "time": _now(), **told}

    async def outcome(self, generation: int) -> Json:
        """The row of history that tells about `generation`; an empty one if there is none."""
        rows = (await self._client.history(self._app)).get("generations", [])
        return next((row for row in rows if row.get("generation") == generation), {})


def lacks_lines(item: Any) -> bool:
    """True if lines of the journal were left out of an answer or a signal, at any depth: only their number is there."""
    if isinstance(item, dict):
        count, lines = item.get("journal_lines"), item.get("journal")
        return (bool(count) and not lines) or any(map(lacks_lines, item.values()))
    return isinstance(item, list) and any(map(lacks_lines, item))


def _options(**values: str | float) -> dict[str, tuple[str, str | float]]:
    """Those that say something, each with its D-Bus type."""
    if isinstance(values.get("canary"), float):
        values["canary_share"] = values.pop("canary")
    return {key: (SIGNATURES[type(value)], value) for key, value in values.items() if value}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _finished(app: str, row: Json) -> Json:
    """The event that was missed, from the history that was not."""
    event = {"event": "finished", "app": app, "to": row.get("generation"), "time": row.get("finished") or _now()}
    for key in ("generation", "release", "result", "reason", "replaced", "adopted"):
        event[key] = row.get(key)
    try:
        times = [datetime.datetime.fromisoformat(str(row.get(key))) for key in ("started", "finished")]
        event["duration"] = (times[1] - times[0]).total_seconds()
    except (TypeError, ValueError):
        event["duration"] = None
    return event
