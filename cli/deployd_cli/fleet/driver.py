"""A driver: sets goals of a fleet and follows them. It may die at any time; the hosts continue without it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from deployd.errors import Busy, Refused
from deployd_cli.fleet import keys, order, requests
from deployd_cli.fleet.archive import Archive
from deployd_cli.fleet.etcd import HEARTBEAT, Etcd, Range
from deployd_cli.fleet.gateway import EtcdUnavailable
from deployd_cli.fleet.goal import Goal, Kind, OnFailure
from deployd_cli.fleet.mirror import Mirror
from deployd_cli.fleet.record import HistoryEntry
from deployd_cli.fleet.settings import FleetSettings
from deployd_cli.fleet.transaction import Transaction
from deployd_cli.fleet.verdict import verdict
from deployd_cli.fleet.view import View

CONTROLS = 10
"""How often a request is decided anew when something else was written in the meantime."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a rollout of a fleet is to be like, as it was typed."""

    release: str
    canaries: Sequence[str] = ()
    batches: str = "1,25%"
    max_failures: int = 0
    bake: float = 0.0
    on_failure: OnFailure = OnFailure.STOP
    supersede: bool = False
    archive: Archive | None = None
    """Of the release, for hosts that do not have it."""


class Driver:
    """The fleet of one app. Raises EtcdUnavailable, EtcdRefused, Refused and InvalidRequest."""

    def __init__(self, etcd: Etcd, settings: FleetSettings, app: str) -> None:
        self._etcd = etcd
        self._app = app
        self._root = keys.root(settings.prefix, app)
        self._changed = asyncio.Event()
        self._mirror = Mirror(etcd, self._root, "", self._changed.set)

    @classmethod
    @asynccontextmanager
    async def connect(cls, settings: FleetSettings, app: str) -> AsyncGenerator[Driver, None]:
        async with Etcd(settings.access) as etcd:
            yield cls(etcd, settings, app)

    async def view(self) -> View:
        """Return all keys as they are now."""
        await self._mirror.read()
        return self._mirror.view

    async def views(self) -> AsyncIterator[View]:
        """Yield all keys, now and after every change. Raises EtcdUnavailable when they cannot be followed any more."""
        tasks: list[asyncio.Task[object]] = [asyncio.create_task(self._mirror.follow())]
        waiting: asyncio.Task[object] | None = None
        try:
            while True:
                waiting = asyncio.create_task(self._changed.wait())
                await asyncio.wait({*tasks, waiting}, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    if task.done():
                        task.result()
                self._changed.clear()
                if len(tasks) == 1:
                    tasks.append(asyncio.create_task(self._stay_connected()))
                yield self._mirror.view
        finally:
            ending = [*tasks, *([] if waiting is None else [waiting])]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    async def _stay_connected(self) -> None:
        """Raise EtcdUnavailable when another member has to be asked: a watch of one that hangs is silent."""
        member = self._etcd.member
        while self._etcd.member == member:
            await asyncio.sleep(HEARTBEAT)
            await self._etcd.read(Range(self._root + keys.PAUSED))
        raise EtcdUnavailable(f"etcd at {member} does not answer")

    async def rollout(self, wanted: Wanted) -> int:
        """Set the goal of a rollout. Returns its token."""
        fleet = self._new_id()

        def decide(view: View) -> Transaction:
            found = verdict(view)
            if view.goal is not None and not found.ended and not wanted.supersede:
                raise Busy(
                    f"{self._app}: {view.goal.value.id} is in progress ({found.reason}); wait for its end, abort it, or"
                    " replace it with --supersede"
                )
            machine_ids = requests.members(view)
            if not machine_ids:
                raise Refused(
                    f"{self._app}: no host takes part in its rollouts yet; add it to apps in /etc/deployd/fleet.toml of"
                    " each host and start deployd-fleet.service there"
                )
            hosts = order.ordered(machine_ids, fleet, wanted.canaries)
            goal = Goal(
                fleet,
                Kind.ROLLOUT,
                hosts,
                order.batches(wanted.batches, len(hosts)),
                release=wanted.release,
                max_failures=wanted.max_failures,
                bake=wanted.bake,
                on_failure=wanted.on_failure,
                created=_now(),
                archive=wanted.archive.source if wanted.archive is not None else "",
                sha256=wanted.archive.sha256 if wanted.archive is not None else "",
            )
            return requests.set_goal(view, goal, _now())

        return await self._set(decide)

    async def rollback(self) -> int:
        """Set the goal that takes the current one back. Returns its token."""
        fleet = self._new_id()
        return await self._set(lambda view: requests.rollback_of(view, fleet, _now()))

    async def abort(self) -> int:
        """Set the goal that ends the current one. Returns its token."""
        fleet = self._new_id()
        return await self._set(lambda view: requests.abort_of(view, fleet, _now()))

    async def pause(self, who: str) -> None:
        if not await self._mirror.write(requests.pause(who)):
            raise Refused(f"{self._app}: the fleet is paused already")

    async def resume(self) -> None:
        await self._change(requests.resume)

    async def release_slot(self, host: str) -> None:
        await self._change(lambda view: requests.release_slot(view, host, _now()))

    async def forget(self, host: str) -> None:
        await self._change(lambda view: requests.forget(view, host, _now()))

    async def history(self) -> list[tuple[str, int, HistoryEntry]]:
        """Return ID, revision and entry of all goals that can be read, the newest first."""
        found = await self._etcd.read(Range(self._root + keys.HISTORY, prefix=True))
        rows = []
        for key, item in found.items.items():
            name = key.removeprefix(self._root + keys.HISTORY)
            try:
                rows.append((name, item.revision, HistoryEntry.parse(item.value, key)))
            except Refused:
                continue
        return sorted(rows, key=lambda row: row[2].created, reverse=True)

    async def _set(self, decide: Callable[[View], Transaction]) -> int:
        """Make a transaction that sets a goal. Returns the token. Raises Refused if another driver was faster."""
        view = await self.view()
        if problem := view.problems.get(keys.GOAL):
            raise Refused(f"{self._app}: {problem}")
        if not await self._mirror.write(decide(view)):
            raise Refused(f"{self._app}: another goal was set at the same time; see deployd fleet status {self._app}")
        return self._mirror.view.token

    async def _change(self, decide: Callable[[View], Transaction]) -> None:
        """Make a transaction, decided anew while something else is written."""
        view = await self.view()
        for _ in range(CONTROLS):
            if await self._mirror.write(decide(view)):
                return
            view = self._mirror.view
        raise Refused(f"{self._app}: the fleet changes too fast; try again")

    def _new_id(self) -> str:
        """Return an ID that no other goal has."""
        return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
