"""What can be asked to change: the writers behind the D-Bus API. Each refuses before it changes anything."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

from deployd.apps.generation_builder import GenerationBuilder
from deployd.apps.registry import Registry
from deployd.apps.turns import Turns
from deployd.config.contents import contents
from deployd.errors import Busy, DeploydError, InvalidRequest, Refused
from deployd.files.workers import LONG
from deployd.model.app import MOST_STEERED, App
from deployd.model.event import EventName
from deployd.model.generation import Cause, Generation, Result
from deployd.model.rollout import Hold, Phase, Rollout
from deployd.plan import goal as goals
from deployd.plan.transitions import Event
from deployd.plan.wayback import way_back


class Requests:
    """One request per app at a time. Every method raises a DeploydError whose text is for people."""

    def __init__(self, apps: Registry) -> None:
        self._apps = apps
        self._turns = Turns()
        self._preparation = GenerationBuilder(apps)

    async def apply(
        self,
        name: str,
        start: bool = True,
        *,
        agreed: str | None = None,
        supersede: bool = False,
        canary: int = 0,
        canary_share: float = 0.0,
    ) -> int:
        """First deploy, or a rollout of changed settings; 0 when there is nothing to do. `agreed` as for rollout."""
        async with self._turn(name):
            self._refuse_if_busy(name, supersede)
            app = await self._apps.load(name)
            release = await self._preparation.resolved(app, None, agreed)
            held = (await self._apps.workers.run(name, contents, release, app, deadline=LONG)).digest
            current = None if self._rollout_of(name) else self._apps.current(name)
            as_it_was = app if current is None else app.with_defaults_of(current.settings)
            if (
                current is not None
                and current.fingerprint == as_it_was.fingerprint(release, held)
                and current.settings == as_it_was
                and current.number in self._apps.pins.generations(name)
            ):
                goal = self._apps.goal(as_it_was, current.number, current.fingerprint)
                await self._apps.deployment.install(as_it_was, goal)
                return 0
            if not start and self._apps.history.current(name) is not None:
                raise Refused(f"{name} is deployed already: --no-start is for the first time")
            if not start:
                return await self._install_only(app, release)
            first = goals.canary(app, canary, canary_share, steers=self._apps.steers(name))
            return await self._begin(app, release, Cause.APPLY, canary=first)

    async def rollout(
        self,
        name: str,
        release: str | None = None,
        cause: Cause = Cause.ROLLOUT,
        *,
        agreed: str | None = None,
        supersede: bool = False,
        canary: int = 0,
        canary_share: float = 0.0,
    ) -> int:
        """A new generation of what the app file and `release` say now.

        `agreed`: the directory that polkit was asked about, if it was: what a link leads to by now does not count.
        """
        async with self._turn(name):
            self._refuse_if_busy(name, supersede)
            app = await self._apps.load(name)
            real = await self._preparation.resolved(app, release, agreed)
            return await self._begin(
                app, real, cause, canary=goals.canary(app, canary, canary_share, steers=self._apps.steers(name))
            )

    async def rollback(
        self,
        name: str,
        to: int = 0,
        *,
        supersede: bool = False,
        past_irreversible: bool = False,
    ) -> int:
        """Release and settings of an earlier generation again."""
        async with self._turn(name):
            self._refuse_if_busy(name, supersede)
            goal = self.rollback_goal(name, to, past_irreversible)
            with self._recalled(name, goal):
                release = await self._preparation.as_it_was(goal)
                return await self._begin(goal.settings, release, Cause.ROLLBACK, goal)

    @contextlib.contextmanager
    def _recalled(self, name: str, goal: Generation) -> Iterator[None]:
        """Wake the standby instances of `goal` at once; return them to standby if the rollback is refused."""
        controller = self._apps.controller(name)
        # Hooks may yet refuse the rollback; and a rollout that is under way has a goal of its own.
        if not goal.settings.pace.hooks.before and controller.rollout is None:
            controller.standby.recall(goal.number, goal.settings)
        try:
            yield
        except DeploydError:
            controller.standby.dismiss(controller.observe(), goal.settings)
            raise

    async def restart(self, name: str, *, supersede: bool = False) -> int:
        """The same again, in new processes."""
        async with self._turn(name):
            self._refuse_if_busy(name, supersede)
            current = self._apps.require_current(name)
            release = await self._preparation.as_it_was(current)
            return await self._begin(current.settings, release, Cause.RESTART, current)

    async def scale(self, name: str, instances: int, *, supersede: bool = False) -> int:
        """Another number of instances; those that run are adopted."""
        if not 1 <= instances <= 1000:
            raise InvalidRequest(f"{instances} instances: allowed are 1 to 1000")
        async with self._turn(name):
            self._refuse_if_busy(name, supersede)
            current = self._apps.require_current(name)
            if current.settings.steered and instances > MOST_STEERED:
                raise Refused(f"{instances} instances of {name}: an app that is steered has {MOST_STEERED} at most")
            release = await self._preparation.as_it_was(current)
            return await self._begin(replace(current.settings, instances=instances), release, Cause.SCALE, current)

    def pause(self, name: str) -> None:
        self._send(name, Event.PAUSE, "paused by request")

    async def resume(self, name: str) -> None:
        controller = self._apps.known(name)
        target = controller.target if controller is not None else None
        lost = await self._preparation.missing(target)
        if lost:
            raise Refused(f"{lost}: put it back and resume, or deployd abort {name} goes back")
        self._send(name, Event.RESUME)

    def abort(self, name: str, *, past_irreversible: bool = False) -> None:
        self._refuse_undoing(name, past_irreversible)
        self._send(name, Event.ABORT, "aborted by request")

    async def weigh(self, name: str, generation: int, share: float) -> None:
        """A share (0 to 1) of new connections for a generation of the rollout under way, until it goes on."""
        self._apps.require_history(name)
        controller = self._apps.known(name)
        current = self._apps.current(name)
        settings = controller.target.settings if controller is not None and controller.target is not None else None
        settings = settings or (current.settings if current is not None else await self._apps.load(name))
        if not settings.steered:
            raise Refused(
                f"{name} shares one socket, where nobody chooses who gets a connection; weights need"
                ' routing = "steered"'
            )
        if not self._apps.steers(name):
            raise Refused(f"{name} cannot be steered here, and weights need that; deployd status {name} says why")
        rollout = controller.rollout if controller is not None else None
        if controller is None or rollout is None:
            self._apps.hooks.refuse_if_ahead(name)
            raise Refused(f"no rollout of {name} is under way: one generation serves, and gets everything")
        if generation not in (rollout.origin, rollout.target):
            those = " and ".join(str(number) for number in (rollout.origin, rollout.target) if number is not None)
            raise Refused(f"generation {generation} has no part in the rollout of {name}; those that have: {those}")
        if not 0 <= share <= 1:
            raise InvalidRequest(f"a weight of {share * 100:g} %: allowed are 0 % to 100 %")
        if not controller.weigh((generation, share)):
            raise Refused(f"the rollout of {name} is {rollout.phase}: where it goes back to gets everything")

    async def remove(self, name: str) -> None:
        """Stop the app and take away all that was generated for it."""
        self._apps.known(name)
        self._apps.require_history(name)
        self._apps.hooks.refuse_if_ahead(name)
        async with self._turns.removal(name):
            await self._apps.remove(name)

    async def _begin(
        self, app: App, release: str, cause: Cause, again: Generation | None = None, *, canary: Hold | None = None
    ) -> int:
        """`again`: a generation that starts the very same process, of a release that has not changed since."""
        if canary is not None and self._apps.history.current(app.name) is None:
            raise Refused(f"{app.name} is not deployed yet: nothing runs that a canary could stand beside")
        name, app = app.name, self._apps.learned(app)
        with self._apps.hooks.ahead(app, cause):
            number = self._apps.history.next_number(name)
            controller = self._apps.controller(name)
            await controller.ready()
            held, fingerprint = await self._preparation.prepare(app, release, number, again)
            if await self._preparation.ran_hooks(app, release, number, cause):
                # They took their time, and may have written into the release.
                held, fingerprint = await self._preparation.prepare(app, release, number, again)
        lost = await self._preparation.lost_origin(name)
        mark, words = await self._preparation.mark(name, release, held, cause)
        # From here on nothing is awaited: the rollout that is superseded must not end meanwhile.
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
            contents=held,
            # What was superseded has changed what it changed.
            irreversible=app.pace.irreversible or bool(mark) or (superseded is not None and superseded.irreversible),
        )
        # A first deploy has nothing to be compared with, and a way back is not to wait for anybody.
        waits = generation.origin is not None and cause not in (Cause.ROLLBACK, Cause.SCALE)
        controller.begin(generation, goals.holds(app, canary, steers=self._apps.steers(name)) if waits else ())
        for reason, lines in ((lost, []), (mark and f"no way leads back past generation {number}, {mark}", words)):
            if reason:
                fields = {"from": generation.origin, "to": number, "reason": reason, "journal": lines}
                self._apps.tell(name, EventName.WARNING, fields)
        return number

    async def _install_only(self, app: App, release: str) -> int:
        """The first connection starts it: pins for all, but no process yet."""
        app = self._apps.learned(app)
        with self._apps.hooks.ahead(app, Cause.APPLY):
            number = self._apps.history.next_number(app.name)
            held, fingerprint = await self._preparation.prepare(app, release, number)
            if await self._preparation.ran_hooks(app, release, number, Cause.APPLY):
                held, fingerprint = await self._preparation.prepare(app, release, number)
        goal = self._apps.goal(app, number, fingerprint)
        for instance in range(1, app.instances + 1):
            self._apps.pins.pin(app.name, instance, number)
        await self._apps.deployment.install(app, goal)
        now = time.time()
        generation = Generation(
            app=app.name,
            number=number,
            release=release,
            settings=app,
            fingerprint=fingerprint,
            contents=held,
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
            EventName.FINISHED,
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

    def rollback_goal(self, name: str, to: int, past_irreversible: bool) -> Generation:
        """The generation that a rollback leads to. Raises Refused."""
        current = self._apps.require_current(name)
        if self._rollout_of(name) is not None:
            self._refuse_undoing(name, past_irreversible)
            if not to:
                return current  # the one before that which is being rolled out
        past = self._apps.history.past(name)
        goal = way_back(past, current.number, to, past_irreversible=past_irreversible)
        return self._apps.require_generation(name, goal.number)

    def _refuse_undoing(self, name: str, past: bool) -> None:
        """What a rollout under way cannot undo must not be left by going back, unless that is wanted."""
        controller = self._apps.known(name)
        target = controller.target if controller is not None else None
        if target is not None and target.irreversible and not past:
            raise Refused(
                f"generation {target.number} of {name} is irreversible: what it changed stays changed; deployd rollout"
                f" {name} --supersede rolls out a better one, deployd abort {name} --past-irreversible goes back all"
                " the same"
            )

    def _send(self, name: str, event: Event, reason: str = "") -> None:
        self._apps.require_history(name)
        controller = self._apps.known(name)
        if controller is None or controller.rollout is None:
            self._apps.hooks.refuse_if_ahead(name)
            raise Refused(f"no rollout of {name} is under way")
        if not controller.send(event, reason):
            raise Refused(f"the rollout of {name} is {controller.rollout.phase}: it cannot {event} now")

    @contextlib.asynccontextmanager
    async def _turn(self, name: str) -> AsyncIterator[None]:
        """One request per app at a time. Hooks may take hours: meanwhile others are refused."""
        self._apps.hooks.refuse_if_ahead(name)
        async with self._turns.request(name):
            self._apps.require_history(name)
            yield

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
