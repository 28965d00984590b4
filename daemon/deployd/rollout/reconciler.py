"""One turn of an app's control loop: read the state of the app, plan, and begin what the plan says.

Everything is recomputed in each turn: signals, timers and requests only wake the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from deployd.errors import Refused
from deployd.instances.app_unit import AppUnit
from deployd.instances.drain_end import end_drains
from deployd.instances.executor import Executor
from deployd.instances.health_unit import HealthUnit
from deployd.instances.observer import Observer
from deployd.instances.preview_address import PreviewAddress
from deployd.instances.recall import Recall
from deployd.instances.resync import Resync
from deployd.instances.standby import Standby
from deployd.instances.timers import Timers
from deployd.model.app import App
from deployd.model.clock import Timestamp
from deployd.model.failure import Failure, GateName
from deployd.model.instance import Instance
from deployd.model.rollout import Pause, Phase
from deployd.plan import judge
from deployd.plan.health import Health, health, serving, why_down
from deployd.plan.in_step import Move
from deployd.plan.planner import Plan, Verdict, World, plan
from deployd.plan.transitions import Event
from deployd.plan.waits import waits
from deployd.rollout.active import ActiveRollout, Aim, snapshot
from deployd.rollout.analysis import Analysis
from deployd.rollout.completion import Completion
from deployd.rollout.host_drain import HostDrainer
from deployd.rollout.lifecycle import Lifecycle
from deployd.rollout.members import Members
from deployd.rollout.pauses import hold_reason
from deployd.rollout.preparation import Preparation
from deployd.rollout.probation import ProbationMonitor
from deployd.rollout.recorder import Recorder
from deployd.rollout.release_guard import ReleaseGuard
from deployd.rollout.smoke_tests import SmokeTests
from deployd.rollout.waiting import Waiting
from deployd.routing import Router


class Reconciler:
    """Makes the turns of `name`, which is one of `members`.

    `wake_after` has the loop make another turn in so many seconds at the latest.
    """

    def __init__(
        self,
        name: str,
        members: Members,
        recorder: Recorder,
        preparation: Preparation,
        guard: ReleaseGuard,
        lifecycle: Lifecycle,
        completion: Completion,
        analysis: Analysis,
        smoke_tests: SmokeTests,
        probation: ProbationMonitor,
        host_drainer: HostDrainer,
        *,
        resync: Resync,
        app_unit: AppUnit,
        health_unit: HealthUnit,
        observer: Observer,
        preview: PreviewAddress,
        executor: Executor,
        recall: Recall,
        standby: Standby,
        timers: Timers,
        router: Router,
        waiting: Waiting,
        wake_after: Callable[[float], None],
    ) -> None:
        self._name = name
        self._members = members
        self._recorder = recorder
        self._preparation = preparation
        self._guard = guard
        self._lifecycle = lifecycle
        self._completion = completion
        self._analysis = analysis
        self._smoke_tests = smoke_tests
        self._probation = probation
        self._host_drainer = host_drainer
        self._resync = resync
        self._app_unit = app_unit
        self._health_unit = health_unit
        self._observer = observer
        self._preview = preview
        self._executor = executor
        self._recall = recall
        self._standby = standby
        self._timers = timers
        self._router = router
        self._waiting = waiting
        self._wake_after = wake_after
        self.observed = asyncio.Event()
        """Set once routing and standby have been looked at, too."""

    async def reconcile(self) -> None:
        """Make one turn. Without an active rollout it only observes, and starts crashed instances again."""
        try:
            await self._turn()
        finally:
            self._members.show(self._name)

    async def _turn(self) -> None:
        await self._resync.refresh()
        active = self._recorder.active
        self._host_drainer.follow(active)
        going = active is not None and await self._follows(active) and await self._is_ready(active)
        await self._route(active)
        await self._show_preview(active)
        while await self._step(active, going):
            pass

    async def _step(self, active: ActiveRollout | None, going: bool) -> bool:
        """Plan and begin what the plan says, unless something must be looked at first, which takes time: return True
        if that was done, and it is to be planned anew."""
        # Nothing is awaited from here to the plan: it must be made for the present state.
        rollout = self._recorder.rollout
        is_waiting = active is not None and not active.has_begun and active.rollout.phase is Phase.ROLLING
        seen = self._observer.update(busy=rollout is not None and not rollout.suspended and not is_waiting)
        failure = self._analysis.update(active if going else None, seen)
        failure = self._smoke_tests.update(active if going else None) or failure
        self._probation.update(seen, Timestamp.now(), rolling=rollout is not None)
        if (settings := active.target.settings if active is not None else self._recorder.settings()) is not None:
            end_drains(seen, self._executor, settings)
        if active is not None and not going:
            self._observer.watch(0.0, None)
        if active is None:
            await self._timers.follow(self._recorder.live())
        if active is None or not going or active.aim is None:
            return False  # without an aim: a request changed the phase meanwhile, and woke the loop
        if failure is not None:
            await self._lifecycle.fail(active, failure)
            return False
        now = Timestamp.now()
        result = plan(active.aim.goal, World(seen, active.rollout.passed), now.monotonic)
        self._recorder.planned(active, result, seen, now)
        if result.verdict is not Verdict.DONE:
            active.settled = None
        if self._members.are_several:
            active.note_arrival(seen, result)
        self._probe(active, active.aim, seen, now)
        self._waiting.update(waits(active.aim.goal, seen, result.passed, now.monotonic), now.monotonic)
        match result.verdict:
            case Verdict.DONE:
                if self._must_compare_at_end(active, active.aim):
                    return await self._compare(active, active.aim)
                await self._completion.complete(active)
                self._router.units_changed()
            case Verdict.HELD:
                await self._hold(active, active.aim, min(result.passed, default=0))
            case Verdict.FAILED:
                if result.failure is not None:
                    await self._lifecycle.fail(active, result.failure)
            case Verdict.GOING:
                if self._guard.must_find(active.aim.goal.generation, result.actions):
                    return await self._find(active, active.aim, result, seen)
                if not self._host_drainer.may_act(active, result.actions):
                    return False
                if self._guard.is_due(active.aim.goal.generation, result.actions):
                    return await self._compare(active, active.aim)
                await self._act(active, active.aim, result, seen, now)
        return False

    async def _follows(self, active: ActiveRollout) -> bool:
        """True if the rollout may continue: no other process type comes first, is paused or rolled back."""
        step = self._members.step(self._name)
        match step.move:
            case Move.WAIT:
                if self._app_unit.is_up():
                    active.note_up()
                return False
            case Move.FAIL:
                await self._lifecycle.fail(active, self._members.failure(self._name, step))
                return False
            case Move.ABORT | Move.PAUSE:
                event = Event.ABORT if step.move is Move.ABORT else Event.PAUSE
                self._lifecycle.advance(active, event, self._members.reason(self._name, step))
                return False
        if active.target.settings.after and not active.has_begun:
            active.restart_clock(Timestamp.now())  # its deadline does not count while others come first
        active.begun = True
        return True

    def _must_compare_at_end(self, active: ActiveRollout, aim: Aim) -> bool:
        """True if the release may have been replaced since the last start. After hooks may write into it."""
        ending = active.rollout.phase is Phase.ROLLING and active.after_hooks is None and active.settled is None
        return ending and self._guard.is_due_at_end(aim.goal.generation)

    async def _find(self, active: ActiveRollout, aim: Aim, result: Plan, seen: tuple[Instance, ...]) -> bool:
        """Look for the release before anything is stopped or started for it, and compare it if that is due, too.

        Returns True if it is there."""
        rollout, missing = active.rollout, await self._preparation.missing(active, seen)
        if active.over or active.rollout is not rollout:
            return False
        if missing:
            await self._lifecycle.release_missing(active, missing)
            return False
        self._guard.found(aim.goal.generation)
        return not self._guard.is_due(aim.goal.generation, result.actions) or await self._compare(active, aim)

    async def _compare(self, active: ActiveRollout, aim: Aim) -> bool:
        """Compare the release with what it was; True if it is the same."""
        rollout, change = active.rollout, await self._guard.change(aim.generation)
        if active.over or active.rollout is not rollout:
            return False  # superseded, paused or aborted meanwhile
        if change:
            await self._lifecycle.release_missing(active, change)
        return not change

    async def _is_ready(self, active: ActiveRollout) -> bool:
        """True if the rollout is to be planned, and units, sockets and the app unit are as its aim needs them."""
        if active.rollout.phase is Phase.PAUSED and active.rollout.pause is not Pause.HELD:
            return False
        try:
            if active.aim is None:
                with self._waiting.during(
                    "the units to be installed and loaded by systemd, which one app at a time can do"
                ):
                    prepared = await self._preparation.prepare(active, self._observer.observe())
                self._router.units_changed()
                if not prepared:
                    return False
            if not await self._app_is_up(active):
                return False
            if active.rollout.phase is Phase.ROLLING:
                await self._router.backend.reopen()
            return True
        except Refused as error:
            await self._lifecycle.fail(active, Failure(GateName.UNITS, str(error)))
            return False

    async def _show_preview(self, active: ActiveRollout | None) -> None:
        """Open the private address of a preview, or close it before its instance is stopped or gets clients."""
        shown = active is not None and active.rollout.shows_preview
        await self._preview.update(active.target.settings if active is not None and shown else None)

    async def _hold(self, active: ActiveRollout, aim: Aim, first: int) -> None:
        """Pause at a step that is reached, or continue where only smoke tests of the `first` instance are awaited."""
        rollout = active.rollout
        await self._show_preview(active)
        if (
            active.over
            or active.rollout is not rollout
            or (rollout.tests and not self._smoke_tests.passed(active, first))
        ):
            return
        if rollout.tests and rollout.holds[0].smoke:
            self._lifecycle.advance(active, Event.TESTED, "")
        else:
            self._lifecycle.advance(active, Event.HELD, hold_reason(rollout, aim.goal.instances))

    async def _app_is_up(self, active: ActiveRollout) -> bool:
        """Start the app unit if it is down, unless it was stopped during the rollout: then abort, and return False."""
        if self._app_unit.is_up():
            active.note_up()
            return True
        if active.aim is not None and not active.aim.goal.generation:
            return True  # what is left of a first deployment is removed whether the app is up or not
        if active.was_up:
            # A shutdown of the machine stops everything; the rollout continues after the boot.
            if await self._app_unit.is_machine_stopping():
                return False
            if await self._lifecycle.app_stopped(active, self._app_unit.is_stopped):
                self._resync.invalidate()
            return False
        if active.aim is None:
            return True
        await self._app_unit.start(active.note_up)
        # The app unit is up when the instances have started that were pinned before a boot. If one were stopped before
        # that, the boot would wait for its end: that of a worker, or of one that nothing may overlap, may take an hour.
        settings = active.aim.generation.settings
        return bool(settings.listen) and settings.overlap

    async def _route(self, active: ActiveRollout | None) -> None:
        """Update the weights of new connections, then stop standby instances that are past their limits."""
        settings = active.target.settings if active is not None else self._recorder.settings()
        if settings is not None:
            seen = self._observer.observe()
            of = replace(snapshot(active, seen, settings, self._recall.generation), up=self._app_unit.is_up())
            if await self._router.backend.update(of):
                self._observer.retry_crashed()
        await self._update_health(settings)
        rollout, current = self._recorder.rollout, self._recorder.settings()
        goal = active.aim.goal if active is not None and active.aim is not None else None
        seen = self._observer.observe()  # again: a freeze may have ended while routing was updated
        self._recall.update(seen, current, rollout, goal)
        if current is not None:
            wanted = frozenset[int]() if goal is None else goal.same | {goal.generation}
            busy = rollout is not None and not rollout.suspended
            await self._standby.update(seen, Timestamp.now(), current, busy=busy, wanted=wanted)
        self.observed.set()

    async def _update_health(self, settings: App | None) -> None:
        """Fail or reset the unit by which `systemctl --failed` names the app."""
        backend, seen = self._router.backend, self._observer.observe()
        addresses = backend.addresses()
        found, reason = Health.OK, ""
        if settings is not None:
            served = serving(seen, backend.unreachable(), addresses)
            found = health(settings.instances, served, addresses, self._recorder.rollout, up=self._app_unit.is_up())
            reason = why_down(seen, addresses) if found is Health.DOWN else ""
        await self._health_unit.update(found, reason, seen, Timestamp.now().monotonic)

    def _probe(self, active: ActiveRollout, aim: Aim, seen: tuple[Instance, ...], now: Timestamp) -> None:
        """Probe and watch the instances whose results the planner needs."""
        asked = judge.to_probe(aim.goal, seen, active.rollout.passed, now.monotonic)
        self._observer.probe(aim.generation.settings, aim.generation.release, asked)
        # A generation that has served before is watched no more: there is nothing better to return to.
        self._observer.watch(aim.goal.watchdog, None if aim.goal.proven else aim.goal.generation, seen)
        self._recorder.probing(asked)

    async def _act(
        self, active: ActiveRollout, aim: Aim, result: Plan, seen: tuple[Instance, ...], now: Timestamp
    ) -> None:
        """Begin the actions of the plan that the analysis allows."""
        if await self._completion.close_addresses(active, result, seen):
            self._wake_after(0.0)
            return  # closing took time, and the plan may be outdated
        allowed = list(self._analysis.allowed(result.actions, seen))
        self._lifecycle.act(allowed, aim.generation)
        self._guard.acted(aim.goal.generation, allowed)
        if result.wake_at is not None:
            self._wake_after(result.wake_at - now.monotonic)
