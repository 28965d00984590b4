"""What a rollout would do: the changed settings, every action in order, where it would wait, and the least capacity."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial

from deployd import config
from deployd.apps import release_access
from deployd.apps.caller import Caller
from deployd.apps.file_reader import FileReader
from deployd.apps.reader_pool import ReaderPool
from deployd.apps.registry import Registry
from deployd.apps.simulator import simulated
from deployd.config.credentials import Digest
from deployd.documents import Json
from deployd.documents.changes import changes as changes_of
from deployd.documents.status import actions, dry_run
from deployd.files.walk import OWN, ROOT
from deployd.files.workers import LONG
from deployd.model.app import App
from deployd.model.changes import changes
from deployd.model.generation import Cause
from deployd.model.instance import State
from deployd.plan import closing
from deployd.plan import goal as goals
from deployd.plan import preview as previews
from deployd.plan.planner import Verdict
from deployd.rollout.generations import Generations
from deployd.state.history import History
from deployd.units.deployment import Deployment


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What would be rolled out."""

    app: App
    stays: str | None
    """The live release, None if that of the app file would take its place."""
    directory: str
    """The directory to which the app file's release leads, as far as the caller can see that, or ""."""


class DryRun:
    """For all apps."""

    def __init__(
        self,
        registry: Registry,
        reader: FileReader,
        pool: ReaderPool,
        generations: Generations,
        history: History,
        deployment: Deployment,
        digest: Digest,
    ) -> None:
        self._registry = registry
        self._reader = reader
        self._pool = pool
        self._generations = generations
        self._history = history
        self._deployment = deployment
        self._digest = digest

    async def changes(self, caller: Caller, name: str) -> Json:
        """Return the generation that is live, what the app file changes, and the release that would be rolled out, null
        if there is none.

        Raises AccessDenied, InvalidFile, Refused and BusError (LimitsExceeded).
        """
        await self._reader.require_readable(caller, name)
        return await self._pool.run(caller, lambda: self._changes(caller, name))

    async def plan(
        self,
        caller: Caller,
        name: str,
        release: str | None = None,
        canary: int = 0,
        canary_share: float = 0.0,
        preview: bool = False,
    ) -> Json:
        """Return `deployd plan APP --json`, for the app file's release or for `release`.

        Raises AccessDenied, InvalidFile, InvalidRequest, Refused and BusError (LimitsExceeded).
        """
        await self._reader.require_readable(caller, name)
        return await self._pool.run(caller, lambda: self._plan(caller, name, release, canary, canary_share, preview))

    async def _changes(self, caller: Caller, name: str) -> Json:
        self._registry.known(name)
        chosen = await self._chosen(caller, name)
        app = await self._captured(caller, chosen.app)
        release, current = chosen.stays or chosen.directory or None, self._history.current(name)
        return {"app": name, "generation": current, "release": release, "changes": self._changed(caller, app)}

    async def _plan(
        self, caller: Caller, name: str, release: str | None, canary: int, share: float, preview: bool
    ) -> Json:
        controller = self._registry.known(name)
        chosen = await self._chosen(caller, name)
        app, release = chosen.app, chosen.stays if release is None else release
        steers = self._deployment.can_steer(app)
        first = goals.canary(app, canary, share, steers=steers)
        alone = previews.preview(app, steers=steers) if preview else None
        read = partial(self._pool.workers(caller).run, name)
        await read(release_access.seen_release, caller, app, release)  # fails sooner than the walk below
        real, digest = await read(release_access.seen, caller, app, release, deadline=LONG)
        app = await self._captured(caller, app)
        if caller.trusted:  # the refusal quotes files of the release
            await read(config.require_runnable, app, real)
        current, number = self._history.current(name), self._history.next_number(name)
        goal = self._generations.goal(app, number, app.fingerprint(real, digest))
        layout = self._deployment.layout(app, goal)
        goal = replace(goal, avoid=layout.avoid, masked=self._deployment.masked(name))
        instances = controller.observe() if controller else ()
        # The first deployment waits for smoke tests only.
        holds = goals.holds(app, first, steers=steers) if current is not None else ()
        begins = alone or previews.smoke_hold(
            app,
            Cause.ROLLOUT,
            replaces=current is not None,
            adopts=current in goal.same,
            steers=steers,
            of_user=OWN != ROOT,
        )
        holds = holds if begins is None else (begins, *holds)
        now = time.monotonic()
        outcome = await simulated(goal, instances, holds, now)
        again = closing.second_pass(outcome, bool(layout.late), layout.holders)
        if again and outcome.verdict is Verdict.DONE:
            more = await simulated(replace(goal, avoid=again), outcome.instances, (), now)
            outcome = closing.joined(outcome, more)
        live = self._history.releases(name, [current])
        releases = (live.get(current) if current else None, real)
        found = dry_run(name, current, number, releases, outcome, self._changed(caller, app))
        return found | {"processes": await self._processes(caller, app, real, number)}

    async def _processes(self, caller: Caller, app: App, release: str, number: int) -> Json:
        """Return the actions of the further process types, by type, also of those that the app has no longer."""
        found: Json = {}
        for item in app.processes:
            seen = partial(self._pool.workers(caller).run, app.name, release_access.seen, deadline=LONG)
            _, digest = await seen(caller, item, release)
            goal = self._generations.goal(item, number, item.fingerprint(release, digest))
            layout = self._deployment.layout(item, goal)
            goal = replace(goal, avoid=layout.avoid, masked=self._deployment.masked(item.name))
            controller = self._registry.controller(item.name)
            instances = controller.observe() if controller else ()
            found[item.process] = actions(await simulated(goal, instances, (), time.monotonic()))
        names = {item.name for item in app.members}
        for controller in self._registry.members(app.name):
            running = [item for item in controller.observe() if item.state is not State.INACTIVE]
            if controller.name not in names and running:
                steps = [{"action": "stop", "instance": item.number, "generation": item.generation} for item in running]
                counted = [{**step, "ready": len(steps) - count} for count, step in enumerate(steps, 1)]
                process = controller.name.removeprefix(f"{app.name}.")
                found[process] = {"actions": counted, "floor": 0, "ceiling": len(steps)}
        return found

    async def _chosen(self, caller: Caller, name: str) -> _Chosen:
        app = self._generations.learned(await self._reader.load(caller, name))
        directory = await self._pool.workers(caller).run(name, release_access.directory, caller, app)
        return _Chosen(*self._generations.choose(app, directory), directory)

    async def _captured(self, caller: Caller, app: App) -> App:
        """Return the app with the contents of its environment files and credentials."""
        return await self._pool.workers(caller).run(app.name, release_access.captured, caller, app, self._digest)

    def _changed(self, caller: Caller, app: App) -> list[Json]:
        """Return how these settings differ from those of the generation that is live; nothing if none is."""
        current = self._history.current(app.name)
        live = None if current is None else self._history.settings(app.name, current)
        return [] if live is None else changes_of(changes(live, app), values=caller.trusted)
