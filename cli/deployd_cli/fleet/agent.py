"""The agent of a host: carries out what turn and steward decide, until it is stopped.

It needs etcd to begin a rollout and to report its end, but not in between: the daemon finishes what it has begun, and
the agent reports it when etcd answers again. All that must survive the agent is in etcd and in the daemon's history.
"""

from __future__ import annotations

import asyncio
import contextlib
import random

from deployd.api import Client
from deployd.errors import Busy, DeploydError, Unreachable
from deployd_cli.fleet import keys
from deployd_cli.fleet.archive import Archive
from deployd_cli.fleet.etcd import HEARTBEAT, Etcd, Put
from deployd_cli.fleet.gateway import EtcdUnavailable
from deployd_cli.fleet.goal import Goal
from deployd_cli.fleet.host import HostApp, Identity
from deployd_cli.fleet.mirror import Mirror
from deployd_cli.fleet.service_manager import ServiceManager
from deployd_cli.fleet.settings import FleetSettings
from deployd_cli.fleet.steward import Bake, step
from deployd_cli.fleet.turn import Abort, Begin, Wait, Write, turn
from deployd_cli.fleet.view import View

LEASE = 30
"""Seconds after which a host without a connection to etcd is no longer displayed as alive."""
LONGEST_PAUSE = 30.0
"""Seconds between two tries, at most."""
NEWS = ("started", "finished", "taken-back", "daemon-back")
"""Events of the daemon after which its history is read again."""


def pause_after(failures: int) -> float:
    """Return the seconds until the next try, at random, so that not all hosts try at the same time."""
    return random.uniform(0.5, 1) * min(LONGEST_PAUSE, 0.1 * float(2 ** min(failures, 10)))  # noqa: S311 - no secret


class AppAgent:
    """The part of one app in the fleet."""

    def __init__(self, host: HostApp, identity: Identity, root: str, manager: ServiceManager) -> None:
        self._host = host
        self._identity = identity
        self._root = root
        self._manager = manager
        self._woken = asyncio.Event()
        self._beginning: asyncio.Task[None] | None = None
        self._bake: Bake | None = None
        self._failures = 0
        """Tries in a row that came to nothing."""
        self.registered = asyncio.Event()

    async def listen(self) -> None:
        """Wake at events of the daemon, also while etcd does not answer. Raises Unreachable without the bus."""
        while True:
            try:
                async with contextlib.aclosing(self._host.client.events(self._host.app)) as events:
                    async for event in events:
                        if event.get("event") in NEWS:
                            self._woken.set()
            except Unreachable:
                raise
            except DeploydError:  # no such app, which each turn reports, too
                await asyncio.sleep(LONGEST_PAUSE)

    async def take_part(self, etcd: Etcd) -> None:
        """Take part until etcd does not answer. Raises EtcdUnavailable and EtcdRefused."""
        mirror = Mirror(etcd, self._root, self._identity.name, self._woken.set)
        following = asyncio.create_task(mirror.follow())
        try:
            while True:
                timeout = await self._turn(mirror) if mirror.view.revision else None
                waiting = asyncio.create_task(self._woken.wait())
                try:
                    await asyncio.wait({waiting, following}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waiting.cancel()
                if following.done():
                    following.result()
                self._woken.clear()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _turn(self, mirror: Mirror) -> float | None:
        """Do what is due. Returns the seconds until the next turn, None: at the next event."""
        try:
            me = await self._host.me()
        except DeploydError as error:
            return self._again(str(error))
        act = turn(mirror.view, me)
        record = mirror.view.hosts.get(me.name)
        if record is not None and record.value.machine_id == me.machine_id:
            self.registered.set()
        elif isinstance(act, Wait):  # the name is taken
            self._manager.ready(act.reason)
            return self._again(act.reason)
        match act:
            case Begin():
                if self._beginning is None or self._beginning.done():
                    goal = goal_of(mirror.view, act)
                    self._beginning = asyncio.create_task(self._begin(act, goal))
            case Abort():
                try:
                    await self._host.abort(act.token)
                except DeploydError as error:
                    return self._again(str(error))
            case Write():
                self._manager.log(f"{self._host.app}: {act.why}")
                return 0.0 if await mirror.write(act.transaction) else self._again("")
        return await self._serve(mirror)

    async def _serve(self, mirror: Mirror) -> float | None:
        """Open the next batch, if that is the part of this host. Returns as `_turn` does."""
        now = asyncio.get_running_loop().time()
        due = step(mirror.view, self._identity.name, self._bake, now)
        self._bake = due.bake
        if due.transaction is not None:
            self._manager.log(f"{self._host.app}: open batch {mirror.view.open_batch + 2}")
            return 0.0 if await mirror.write(due.transaction) else self._again("")
        self._failures = 0
        return None if due.wake is None else max(0.0, due.wake - now)

    def _again(self, problem: str) -> float:
        if problem and not self._failures:
            self._manager.log(f"{self._host.app}: {problem}; trying again")
        self._failures += 1
        return pause_after(self._failures)

    async def _begin(self, act: Begin, goal: Goal | None) -> None:
        """Request a rollout; hooks, downloads and builds may take long before the daemon answers."""
        undone = goal.of if goal is not None else 0
        archive = Archive(goal.archive, goal.sha256) if goal is not None and goal.archive else None
        self._manager.log(f"{self._host.app}: roll out {act.release} ({act.fleet}, token {act.token})")
        try:
            await self._host.begin(act, undone, archive)
        except Busy as error:
            self._manager.log(f"{self._host.app}: {error}")
            await asyncio.sleep(pause_after(3))  # after that, the next turn waits for its end
        except Unreachable as error:  # the request may have arrived: it is made again
            self._manager.log(f"{self._host.app}: {error}")
            await asyncio.sleep(pause_after(5))
        except DeploydError as error:
            self._manager.log(f"{self._host.app}: {error}")
            self._host.refuse(act, str(error))
        self._woken.set()


def goal_of(view: View, act: Begin) -> Goal | None:
    """Return the goal for which the host begins, None if it was replaced."""
    goal = view.goal
    return goal.value if goal is not None and goal.revision == act.token else None


class Agent:
    """All apps of a host."""

    def __init__(self, settings: FleetSettings, client: Client, manager: ServiceManager) -> None:
        self._settings = settings
        self._manager = manager
        self._failures = 0
        """Sessions in a row that came to nothing."""
        self._identity = identity = Identity.of_process(settings.name)
        self._roots = {app: keys.root(settings.prefix, app) for app in settings.apps}
        self._apps = {
            app: AppAgent(HostApp(client, app, identity, settings.archives), identity, root, manager)
            for app, root in self._roots.items()
        }

    async def run(self) -> None:
        """Take part in the fleets of all apps until cancelled. Raises Unreachable if the bus of this host is gone."""
        async with asyncio.TaskGroup() as group:
            for app in self._apps.values():
                group.create_task(app.listen())
            group.create_task(self._sessions())

    async def _sessions(self) -> None:
        """Begin a session again and again; only the first problem in a row is logged."""
        while True:
            try:
                async with Etcd(self._settings.access) as etcd:
                    await self._session(etcd)
            except* DeploydError as group:
                problem = _first(group)
                if not self._failures:
                    self._manager.log(f"{problem}; rollouts in progress continue, and none is begun; trying again")
                self._manager.ready(f"waiting for etcd: {problem}")
            self._failures += 1
            await asyncio.sleep(pause_after(self._failures + 1))

    async def _session(self, etcd: Etcd) -> None:
        """Take part until the first problem."""
        lease = await etcd.grant(LEASE)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stay_alive(etcd, lease))
            for app in self._apps.values():
                group.create_task(app.take_part(etcd))
            for app in self._apps.values():
                await app.registered.wait()
            status = f"{self._identity.name} takes part in the rollouts of {', '.join(self._apps)}"
            self._manager.log(status)
            self._manager.ready(status)
            self._failures = 0

    async def _stay_alive(self, etcd: Etcd, lease: int) -> None:
        """Renew the lease. Only a member with a leader can do that: so this notices, too, if watches are silent because
        their member is cut off."""
        member = etcd.member
        puts = [
            Put(root + keys.alive(self._identity.name), self._identity.boot, lease) for root in self._roots.values()
        ]
        await etcd.write([], puts)
        while True:
            await asyncio.sleep(HEARTBEAT)
            if not await etcd.keep_alive(lease):
                raise EtcdUnavailable("etcd has forgotten the lease of this host")
            if etcd.member != member:
                raise EtcdUnavailable(f"etcd at {member} does not answer")


def _first(group: BaseExceptionGroup[DeploydError]) -> BaseException:
    """Return the first of the errors."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
