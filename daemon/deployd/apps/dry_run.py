"""The dry run of a rollout: every action in order, where it would wait, and the least capacity on the way."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from deployd import config
from deployd.apps import release_access
from deployd.apps.caller import Caller
from deployd.apps.change_preview import ChangePreview
from deployd.apps.file_reader import FileReader
from deployd.apps.reader_pool import ReaderPool
from deployd.apps.registry import Registry
from deployd.apps.simulator import simulated
from deployd.config.credentials import Digest
from deployd.documents import Json
from deployd.documents.status import dry_run
from deployd.files.workers import LONG
from deployd.plan import closing
from deployd.plan import goal as goals
from deployd.plan.planner import Verdict
from deployd.rollout.generations import Generations
from deployd.state.history import History
from deployd.units.deployment import Deployment


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
        changes: ChangePreview,
    ) -> None:
        self._registry = registry
        self._reader = reader
        self._pool = pool
        self._generations = generations
        self._history = history
        self._deployment = deployment
        self._digest = digest
        self._changes = changes

    async def plan(
        self, caller: Caller, name: str, release: str | None = None, canary: int = 0, canary_share: float = 0.0
    ) -> Json:
        """Return `deployd plan APP --json`, for the app file's release or for `release`.

        Raises AccessDenied, InvalidFile, InvalidRequest, Refused and BusError (LimitsExceeded).
        """
        await self._reader.require_readable(caller, name)
        return await self._pool.run(caller, lambda: self._plan(caller, name, release, canary, canary_share))

    async def _plan(self, caller: Caller, name: str, release: str | None, canary: int, share: float) -> Json:
        controller = self._registry.known(name)
        app = self._generations.learned(await self._reader.load(caller, name))
        app, stays = self._generations.choose(app, await self._pool.workers(caller).run(name, config.directory, app))
        release = stays if release is None else release
        steers = self._deployment.can_steer(app)
        first = goals.canary(app, canary, share, steers=steers)
        read = partial(self._pool.workers(caller).run, name)
        await read(release_access.seen_release, caller, app, release)  # fails sooner than the walk below
        real, digest = await read(release_access.seen, caller, app, release, deadline=LONG)
        app = await read(release_access.captured, caller, app, self._digest)
        if caller.root:  # the refusal quotes files of the release
            await read(config.require_runnable, app, real)
        current, number = self._history.current(name), self._history.next_number(name)
        goal = self._generations.goal(app, number, app.fingerprint(real, digest))
        layout = self._deployment.layout(app, goal)
        goal = replace(goal, avoid=layout.avoid, masked=self._deployment.masked(name))
        instances = controller.observe() if controller else ()
        # The first deployment waits for nothing.
        holds = goals.holds(app, first, steers=steers) if current is not None else ()
        now = time.monotonic()
        outcome = await simulated(goal, instances, holds, now)
        again = closing.second_pass(outcome, bool(layout.late), layout.holders)
        if again and outcome.verdict is Verdict.DONE:
            more = await simulated(replace(goal, avoid=again), outcome.instances, (), now)
            outcome = closing.joined(outcome, more)
        live = self._history.releases(name, [current])
        releases = (live.get(current) if current else None, real)
        return dry_run(name, current, number, releases, outcome, self._changes.of(caller, app))
