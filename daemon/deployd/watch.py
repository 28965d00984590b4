"""What the daemon says of an app and its rollouts, and how to wait for one across a death of the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from deployd.bus import BusError, Signal
from deployd.errors import DeploydError, Unreachable
from deployd.names import APP, NAME, ROOT, app_path
from deployd.replies import Json, error_from, json_object, lacks_lines

if TYPE_CHECKING:
    from deployd.api import Client

PATIENCE = 60.0
"""How long a daemon that went away may stay away before waiting for it is given up."""
DAY = 86400.0


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
        # Not asked when the daemon is gone: a question would start it.
        if self._owner and self._interface == APP and isinstance(item.get("number"), int) and lacks_lines(item):
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
