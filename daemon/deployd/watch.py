"""Events of an app and its rollouts; waiting for a rollout across restarts of the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any, Protocol, Self

from deployd.bus import Bus, BusError, Signal
from deployd.errors import DeploydError, Unreachable
from deployd.names import APP, APPS, NAME, ROOT, app_path
from deployd.replies import Json, error_from, json_object, lacks_lines

PATIENCE = 60.0
"""Seconds until the client stops waiting for a daemon that is not running."""
DAY = 86400.0


class Queries(Protocol):
    """The calls of a client that a watch makes. Each returns a document, or raises DeploydError."""

    bus: Bus

    async def status(self, app: str) -> Json: ...

    async def history(self, app: str) -> Json: ...

    async def event(self, app: str, number: int) -> Json: ...


class Watch:
    """Events of an app (of every app for "") and restarts of the daemon, in order."""

    def __init__(self, client: Queries, interface: str, member: str, app: str) -> None:
        self._client = client
        self._interface, self._member, self._app = interface, member, app
        self._owner = ""
        self._items: asyncio.Queue[tuple[bool, str]] = asyncio.Queue()
        self._early: asyncio.Queue[Json] | None = None

    async def __aenter__(self) -> Self:
        bus, of_app = self._client.bus, self._interface == APP
        path, signature = (app_path(self._app) if self._app else "", "s") if of_app else (ROOT, "ss")
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
                    path_namespace="" if path else APPS,
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
        if not self._is_early(signal.body[0]):
            self._items.put_nowait((False, signal.body[0]))

    def _on_change(self, signal: Signal) -> None:
        if self._app in ("", signal.body[0]):
            self._items.put_nowait((False, signal.body[1]))

    @contextlib.asynccontextmanager
    async def meanwhile(self, early: Callable[[Json], None]) -> AsyncGenerator[None, None]:
        """Within the context, while a request waits for its answer, pass events of before hooks to `early`."""
        events: asyncio.Queue[Json] = asyncio.Queue()
        self._early = events

        async def pass_on() -> None:
            while True:
                early(await self._complete(await events.get()))
                events.task_done()

        passing = asyncio.ensure_future(pass_on())
        try:
            yield
        finally:
            self._early = None
            joined = asyncio.ensure_future(events.join())
            waiting: set[asyncio.Future[Any]] = {joined, passing, self._client.bus.disconnected}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in (joined, passing):
                task.cancel()
            await asyncio.gather(joined, passing, return_exceptions=True)

    def _is_early(self, text: str) -> bool:
        """True for an event of a before hook within :meth:`meanwhile`, which is passed on."""
        if self._early is None:
            return False
        with contextlib.suppress(DeploydError):  # next() raises it to the caller
            event = json_object(text)
            if event.get("event") == "hook" and event.get("hook") == "before":
                self._early.put_nowait(event)
                return True
        return False

    async def next(self) -> Json | str:
        """Return the next event (a dict), or the new bus name of the daemon ("" if it stopped)."""
        get = asyncio.ensure_future(self._items.get())
        waiting: set[asyncio.Future[Any]] = {get, self._client.bus.disconnected}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if get.done():
                is_owner, text = get.result()
                return text if is_owner else await self._complete(json_object(text))
        finally:
            get.cancel()
        raise Unreachable("the connection to the message bus was lost")

    async def _complete(self, item: Json) -> Json:
        """Return the event with the journal lines that are left out of the signal, since every user receives that."""
        # Not while the daemon is stopped: the call would start it.
        app = str(item.get("app") or self._app)
        if self._owner and self._interface == APP and isinstance(item.get("number"), int) and lacks_lines(item):
            with contextlib.suppress(DeploydError):
                return await self._client.event(app, item["number"])
        return item

    async def until_finished(
        self, generation: int, *, ended: bool = False, deadline: float = DAY, patience: float = PATIENCE
    ) -> AsyncGenerator[Json, None]:
        """Yield the events of the rollout of `generation`; the last one is ``finished``.

        A rollout outlives the daemon that began it. After a restart, the new daemon is asked for the result of the
        rollout, and events continue. Raises Unreachable if the daemon is down for `patience` seconds, or if there is no
        event for `deadline` seconds: a rollout may be paused for hours. With `ended` the rollout may have ended before.
        """
        if ended and (row := await self.outcome(generation)).get("result", "running") != "running":
            yield _finished(self._app, row)
            return
        clock = asyncio.get_running_loop().time
        back_by, asked = None, self._owner
        while True:
            try:
                async with asyncio.timeout_at(back_by or clock() + deadline):
                    item = await self.next()
            except TimeoutError:
                what = "deployd stopped and did not start again" if back_by else f"no event for {deadline:g} s"
                raise Unreachable(f"{what}; the rollout continues without this command") from None
            except Unreachable as error:
                raise Unreachable(f"{error}; the rollout continues without this command") from None
            if isinstance(item, dict):
                if generation not in (item.get("to"), item.get("generation") if "to" not in item else None):
                    continue
                yield item
                if item.get("event") == "finished":
                    return
                continue
            if not item:
                # No call now: it would start the daemon, which an administrator may have stopped.
                if back_by is None:
                    back_by = clock() + patience
                    yield {**self._daemon("lost"), "to": generation}
                continue
            if item == asked and back_by is None:  # this daemon began the rollout, after it had just started
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
            yield {**self._daemon("back"), "to": generation}
            if (paused := await self._paused(generation)) is not None:
                yield paused

    async def endless(self) -> AsyncGenerator[Json, None]:
        """Yield every event, also those that the daemon is ``lost`` and ``back``, until the bus disconnects.

        What happened while it was lost is in the history only. Raises Unreachable.
        """
        asked = self._owner
        while True:
            item = await self.next()
            if isinstance(item, dict):
                yield item
            elif item != asked:
                asked = item
                yield self._daemon("back" if item else "lost")

    def _daemon(self, state: str) -> Json:
        """Return the event that the daemon is ``lost``, or ``back``."""
        return {"event": f"daemon-{state}", "app": self._app or None, "time": _now()}

    async def _paused(self, generation: int) -> Json | None:
        """Return the event of a paused rollout once more, since a restarted daemon does not repeat it."""
        try:
            rollout = (await self._client.status(self._app)).get("rollout") or {}
        except DeploydError:
            return None
        if rollout.get("to") != generation or rollout.get("phase") != "paused":
            return None
        fields = {key: rollout.get(key) for key in ("from", "to", "reason", "pause", "waits_for", "how")}
        return {"event": "paused", "app": self._app, "time": _now(), **fields}

    async def outcome(self, generation: int) -> Json:
        """Return the entry of `generation` in the history; an empty one if there is none."""
        rows = (await self._client.history(self._app)).get("generations", [])
        return next((row for row in rows if row.get("generation") == generation), {})


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _finished(app: str, row: Json) -> Json:
    """Return the ``finished`` event that was missed, from the history."""
    event = {"event": "finished", "app": app, "to": row.get("generation"), "time": row.get("finished") or _now()}
    for key in ("generation", "release", "result", "reason", "replaced", "adopted", "duration", "watched_until"):
        event[key] = row.get(key)
    return event
