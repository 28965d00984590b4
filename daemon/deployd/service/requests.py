"""What can be asked to change: the writers behind the D-Bus API. Each refuses before it changes anything."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from deployd import config
from deployd.control.registry import Registry
from deployd.errors import Busy, InvalidRequest, Refused
from deployd.model.app import App
from deployd.model.generation import Cause, Generation, Result
from deployd.model.rollout import Phase, Rollout
from deployd.plan.goal import holds
from deployd.plan.transitions import Event


class Requests:
    """One request per app at a time. Every method raises a DeploydError whose text is for people."""

    def __init__(self, apps: Registry) -> None:
        self._apps = apps

    async def apply(self, name: str, start: bool = True, *, supersede: bool = False, canary: int = 0) -> int:
        """First deploy, or a rollout of changed settings; 0 when there is nothing to do."""
        async with self._apps.lock(name):
            self._refuse_if_busy(name, supersede)
            app = self._apps.load(name)
            release = config.resolve_release(app)
            current = None if self._rollout_of(name) else self._apps.current(name)
            if current is not None and current.fingerprint == app.fingerprint(release) and current.settings == app:
                await self._apps.deployment.install(app, self._apps.goal(app, current.number, current.fingerprint))
                return 0
            if not start and self._apps.history.current(name) is not None:
                raise Refused(f"{name} is deployed already: --no-start is for the first time")
            if not start:
                return await self._install_only(app, release)
            return await self._begin(app, release, Cause.APPLY, canary=canary)

    async def rollout(
        self,
        name: str,
        release: str | None = None,
        cause: Cause = Cause.ROLLOUT,
        *,
        supersede: bool = False,
        canary: int = 0,
    ) -> int:
        """A new generation of what the app file and `release` say now."""
        async with self._apps.lock(name):
            self._refuse_if_busy(name, supersede)
            app = self._apps.load(name)
            real = await asyncio.get_running_loop().run_in_executor(None, config.resolve_release, app, release)
            return await self._begin(app, real, cause, canary=canary)

    async def rollback(
        self,
        name: str,
        to: int = 0,
        *,
        supersede: bool = False,
        past_irreversible: bool = False,  # noqa: ARG002
    ) -> int:
        """Release and settings of an earlier generation again."""
        async with self._apps.lock(name):
            self._refuse_if_busy(name, supersede)
            goal = self._rollback_goal(name, to)
            release = config.resolve_release(goal.settings, goal.release)
            return await self._begin(goal.settings, release, Cause.ROLLBACK, goal.fingerprint)

    async def restart(self, name: str, *, supersede: bool = False) -> int:
        """The same again, in new processes."""
        async with self._apps.lock(name):
            self._refuse_if_busy(name, supersede)
            current = self._apps.require_current(name)
            release = config.resolve_release(current.settings, current.release)
            return await self._begin(current.settings, release, Cause.RESTART)

    async def scale(self, name: str, instances: int, *, supersede: bool = False) -> int:
        """Another number of instances; those that run are adopted."""
        if not 1 <= instances <= 1000:
            raise InvalidRequest(f"{instances} instances: allowed are 1 to 1000")
        async with self._apps.lock(name):
            self._refuse_if_busy(name, supersede)
            current = self._apps.require_current(name)
            app = replace(current.settings, instances=instances)
            return await self._begin(app, current.release, Cause.SCALE, current.fingerprint)

    def pause(self, name: str) -> None:
        self._send(name, Event.PAUSE, "paused by request; deployd resume goes on, deployd abort goes back")

    def resume(self, name: str) -> None:
        self._send(name, Event.RESUME)

    def abort(self, name: str, *, past_irreversible: bool = False) -> None:
        controller = self._apps.known(name)
        target = controller.target if controller is not None else None
        if target is not None and target.irreversible and not past_irreversible:
            raise Refused(
                f"generation {target.number} of {name} is irreversible: what it changed stays changed; deployd rollout"
                f" {name} --supersede rolls out a better one, deployd abort {name} --past-irreversible goes back all"
                " the same"
            )
        self._send(name, Event.ABORT, "aborted by request")

    async def remove(self, name: str) -> None:
        """Stop the app and take away all that was generated for it."""
        async with self._apps.lock(name):
            controller = self._apps.known(name)
            if controller is not None:
                await controller.stop()
            await self._apps.deployment.remove(name)
            self._apps.history.forget(name)
            self._apps.forget(name)

    async def _begin(
        self, app: App, release: str, cause: Cause, fingerprint: str | None = None, *, canary: int = 0
    ) -> int:
        if canary < 0 or canary > app.instances:
            raise InvalidRequest(f"canary of {canary}: allowed are 1 to {app.instances}, the instances of {app.name}")
        name = app.name
        number = self._apps.history.next_number(name)
        controller = self._apps.controller(name)
        await controller.ready()
        fingerprint = fingerprint or app.fingerprint(release)
        await self._apps.deployment.prepare(app, self._apps.goal(app, number, fingerprint), release)
        superseded = controller.target
        generation = Generation(
            app=name,
            number=number,
            release=release,
            settings=app,
            fingerprint=fingerprint,
            cause=cause,
            result=Result.RUNNING,
            reason="",
            started=time.time(),
            origin=self._apps.history.current(name),
            # What was superseded has changed what it changed.
            irreversible=app.pace.irreversible or (superseded is not None and superseded.irreversible),
        )
        controller.begin(generation, holds(app, canary))
        return number

    async def _install_only(self, app: App, release: str) -> int:
        """The first connection starts it: pins for all, but no process yet."""
        number = self._apps.history.next_number(app.name)
        goal = self._apps.goal(app, number, app.fingerprint(release))
        await self._apps.deployment.prepare(app, goal, release)
        for instance in range(1, app.instances + 1):
            self._apps.pins.pin(app.name, instance, number)
        await self._apps.deployment.install(app, goal)
        now = time.time()
        generation = Generation(
            app=app.name,
            number=number,
            release=release,
            settings=app,
            fingerprint=app.fingerprint(release),
            cause=Cause.APPLY,
            result=Result.SUCCEEDED,
            reason="installed; the first connection starts it",
            started=now,
            finished=now,
        )
        self._apps.history.deployed(generation)
        self._apps.controller(app.name)
        self._apps.tell(
            app.name,
            "finished",
            {
                "result": str(generation.result),
                "reason": generation.reason,
                "generation": number,
                "from": None,
                "to": number,
                "replaced": [],
                "adopted": [],
                "duration": 0.0,
            },
        )
        return number

    def _rollback_goal(self, name: str, to: int) -> Generation:
        current = self._apps.require_current(name)
        if self._rollout_of(name) is not None and not to:
            return current  # the one before that which is being rolled out
        generations = self._apps.history.generations(name)
        if to:
            goal = next((item for item in generations if item.number == to), None)
            if goal is None:
                raise InvalidRequest(f"{name} has no generation {to}; see deployd history {name}")
            return goal
        for item in generations:
            good = item.number < current.number and item.result is Result.SUCCEEDED
            if good and item.fingerprint != current.fingerprint:
                return item
        raise Refused(f"{name} has no good generation before {current.number} to go back to")

    def _send(self, name: str, event: Event, reason: str = "") -> None:
        controller = self._apps.known(name)
        if controller is None or controller.rollout is None:
            raise Refused(f"no rollout of {name} is under way")
        if not controller.send(event, reason):
            raise Refused(f"the rollout of {name} is {controller.rollout.phase}: it cannot {event} now")

    def _rollout_of(self, name: str) -> Rollout | None:
        controller = self._apps.known(name)
        return controller.rollout if controller is not None else None

    def _refuse_if_busy(self, name: str, supersede: bool) -> None:
        rollout = self._rollout_of(name)
        if rollout is not None and not supersede:
            hint = f"deployd resume {name} goes on, deployd abort {name} goes back"
            if rollout.phase is not Phase.PAUSED:
                hint = f"wait for it, or deployd abort {name}"
            under_way = f"a rollout of {name} to generation {rollout.target} is {rollout.phase}"
            raise Busy(f"{under_way}; {hint}, or replace it with --supersede")
