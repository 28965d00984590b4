"""One app's control loop: observe, plan, act; and the rollout that it carries through to its end.

Signals, timers and requests only wake the loop; what to do is recomputed from the world each time. Without a
rollout under way it watches, and starts nothing but what its keeper has kept down.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

from deployd.errors import DeploydError, Refused, SystemdError
from deployd.instances.actuator import Actuator
from deployd.instances.app_unit import AppUnit
from deployd.instances.crash_loop import CrashLoop
from deployd.instances.freezer import Freezer
from deployd.instances.invocations import Invocations
from deployd.instances.probe_questions import prober
from deployd.instances.resync import Resync
from deployd.instances.standby import Standby
from deployd.model.action import Action, Adopt, Freeze, Stop
from deployd.model.clock import Timestamp
from deployd.model.event import Emit
from deployd.model.failure import Failure, GateName
from deployd.model.generation import Generation, Result
from deployd.model.instance import Instance
from deployd.model.pace import OnFailure
from deployd.model.rollout import Hold, Pause, Phase, Rollout
from deployd.plan import judge
from deployd.plan.closing import last_holders
from deployd.plan.goal import Goal
from deployd.plan.planner import Plan, Verdict, World, plan
from deployd.plan.transitions import Event, advance
from deployd.rollout.active import ActiveRollout, view
from deployd.rollout.after_hooks import hooks_ran
from deployd.rollout.analysis import Analysis, Compare
from deployd.rollout.control_loop import ControlLoop
from deployd.rollout.events import Events
from deployd.rollout.faults import Faults
from deployd.rollout.host import Host
from deployd.rollout.pauses import held
from deployd.rollout.preparation import Preparation
from deployd.routing import Router

RETRY = 1.0
"""Seconds until the loop tries again after systemd or the disk refused, when nothing wakes it earlier."""


class Controller:
    """The app `name`. Make it, then :meth:`start`; requests come through :meth:`begin` and :meth:`send`."""

    def __init__(self, name: str, host: Host, compare: Compare, *, tell: Emit, changed: Callable[[], None]) -> None:
        self.name = name
        self._host = host
        self._loop = ControlLoop(self._turn)
        self._report_change = changed
        self._story = Events(name, tell, lambda: self._course)
        self._witness = Invocations(name, host.history, host.tail)
        self._analysis = Analysis(name, host, compare, self.wake, self._story.tell)
        self.router = Router(name, host.systemd, host.kernel, host.deployment.has_own_sockets, changed=self.wake)
        self._freezer = Freezer(name, host.systemd, host.pins, self.router)
        self._umbrella = AppUnit(name, host.systemd, changed=self.wake, failed=self._on_error)
        tell_event = self._story.tell
        stopped, failed, up = self._story.stopped, self._on_error, self._umbrella.is_up
        self.instances = Actuator(
            name, host.systemd, host.pins, self.router, self._freezer, changed=self.wake, stopped=stopped, failed=failed
        )
        self.standby = Standby(name, host.pins, self._freezer, self.instances, up=up, wake=self.wake)
        self._sight = Resync(host.systemd, self._umbrella, self.instances)
        self._ground = Preparation(name, host, self.instances)
        self._prober = prober(name, host.systemd, host.transient, host.commands, self.instances, changed=self.wake)
        self.keeper = CrashLoop(
            name, host.history, host.tail, self.instances, up, self.wake, changed, tell_event, patience=host.patience
        )
        self._course: ActiveRollout | None = None
        self._goal: tuple[Goal, Generation] | None = None
        self._faults = Faults(name)
        self._seen: tuple[Instance, ...] = ()

    @property
    def rollout(self) -> Rollout | None:
        """The rollout under way."""
        return self._course.rollout if self._course is not None else None

    @property
    def target(self) -> Generation | None:
        """The generation that the rollout under way made, as far as it has come."""
        course = self._course
        return None if course is None else replace(course.target, failure=course.failure)

    def start(self) -> None:
        """Take up the rollout that history knows of, if any, and begin to watch."""
        self.take_up()
        self._loop.start()

    def take_up(self) -> None:
        """Take the rollout under way from the history, at the start and after the history was replaced."""
        if self._course is not None:
            self._course.end_hooks()
        self._course, self._goal = ActiveRollout.under_way(self.name, self._host.history), None
        self._witness.forget()
        self._report_change()
        self.wake()

    async def stop(self) -> None:
        """Leave the loop; instances and jobs go on without us."""
        self.keeper.stop()
        self.standby.stop()
        await self._loop.stop()
        await self._freezer.release()
        await self._prober.stop()
        self.router.stop()

    async def end(self, reason: str) -> None:
        """Abort the rollout under way, and do nothing any more: the app is to be removed. Raises StateError."""
        if self._course is not None:
            self._finish(self._course, Result.ABORTED, reason)
        await self.stop()
        self._umbrella.leave()
        await self.instances.leave()

    def wake(self) -> None:
        self._loop.wake()

    def on_unit_change(self, unit: str) -> None:
        """A unit changed; "" when all may have."""
        if unit == "":
            self._sight.lose()
            self.wake()
        elif self.instances.owns(unit) or unit == self._umbrella.unit:
            self.wake()

    async def ready(self) -> None:
        """Wait until the loop has looked at the world once. Raises SystemdError."""
        await self._sight.look()

    def begin(self, generation: Generation, holds: tuple[Hold, ...] = ()) -> None:
        """Start rolling out a new generation whose files are written. Raises StateError.

        It takes the place of the rollout under way, if there is one, and goes on from where things stand.
        """
        now, old = Timestamp.now(), self._course
        rollout = ActiveRollout.begun(generation, holds, now)
        if old is None:
            self._host.history.begin(generation, rollout)
        else:
            reason = f"superseded by generation {generation.number}"
            old.end_hooks()
            self._host.history.progress(old.rollout, old.replaced, old.adopted)
            self._host.history.supersede(old.rollout, reason, generation, rollout)
            self._story.finished(old, Result.SUPERSEDED, reason, now.wall - old.rollout.started)
        self._course, self._goal = ActiveRollout(rollout, generation), None
        if old is not None:
            self._course.umbrella_seen = old.umbrella_seen
        self._story.started(self._course)
        if not self._umbrella.is_up():
            self._ground.unpin_idle()
        self.wake()

    def send(self, event: Event, reason: str = "") -> bool:
        """Pause, resume or abort the rollout under way; False where that makes no sense. Raises StateError."""
        return self._course is not None and self._advance(self._course, event, reason)

    def weigh(self, weight: tuple[int, float]) -> bool:
        """A generation's share of new connections; False where that makes no sense. Raises StateError."""
        course = self._course
        if course is None or course.rollout.phase is Phase.ROLLING_BACK:
            return False
        self._host.history.move(rollout := replace(course.rollout, weight=weight))
        course.rollout = rollout
        self.router.backend.follow(rollout)  # whoever asked for it sees it hold when the call returns
        self._report_change()
        self.wake()
        return True

    def observe(self) -> tuple[Instance, ...]:
        """The instances, with what their probes say."""
        return self._prober.overlay(self.instances.observe())

    async def _turn(self) -> None:
        """One turn of the loop; the daemon never dies of one app's trouble."""
        try:
            await self._step()
        except Exception as error:
            if not isinstance(error, DeploydError):
                self._sight.lose()
            self._on_error(error)

    async def _step(self) -> None:
        await self._sight.look()
        course = self._course
        going = course is not None and await self._ready_to_plan(course)
        await self._route(course, self.observe())
        lost = await self._ground.lost(course, *self._goal, self.observe()) if course and going and self._goal else ""
        seen = self._note_changes()  # after all that waits: a plan is for the world as it is
        analysed = self._analysis.look(course if going else None, seen)
        if course is None or not going or self._goal is None or course is not self._course:
            return  # no goal: a request turned the rollout while we prepared, and woke us
        if analysed is not None:
            await self._fail(course, analysed)
            return
        goal, generation = self._goal
        now = Timestamp.now()
        result = plan(goal, World(seen, course.rollout.passed), now.monotonic)
        self._remember(course, result, seen, now)
        asked = judge.to_probe(goal, seen, course.rollout.passed, now.monotonic)
        self._prober.update(generation.settings, generation.release, asked)
        self._story.probing(asked)
        match result.verdict:
            case Verdict.DONE:
                await self._done(course, goal, generation)
            case Verdict.HELD:
                self._advance(course, Event.HELD, held(course.rollout, goal.instances))
            case Verdict.FAILED:
                if result.failure is not None:
                    await self._fail(course, result.failure)
            case Verdict.GOING:
                if lost and result.actions:
                    await self._vanished(course, lost)
                    return
                leaving = last_holders(goal, result, seen) if course.rollout.closing else None
                if leaving and await self._host.deployment.close_sockets(generation.settings, leaving):
                    self.wake()
                    return  # that took its time: the world may be another one
                for action in self._analysis.allowed(result.actions, seen):
                    self._act(action, generation)
                if result.wake_at is not None:
                    self._loop.wake_after(result.wake_at - now.monotonic)

    async def _route(self, course: ActiveRollout | None, seen: tuple[Instance, ...]) -> None:
        """Send new connections where they belong now, and what stands by out of the way when its time has come."""
        settings = course.target.settings if course is not None else self._ground.settings()
        goal = self._goal[0] if self._goal is not None else None
        if settings is not None:
            await self.router.backend.update(view(course, goal, seen, settings, self.standby.recalled))
        seen = self.observe()  # for that took its time: what was being frozen then may have been
        await self.standby.attend(seen, self._ground.settings(), self.rollout, goal)

    async def _ready_to_plan(self, course: ActiveRollout) -> bool:
        """Is there anything to plan, and does all stand that a plan needs?"""
        if course.rollout.phase is Phase.PAUSED and course.rollout.pause is not Pause.HELD:
            return False
        try:
            return await self._prepare(course)
        except Refused as error:
            await self._fail(course, Failure(GateName.UNITS, str(error)))
            return False

    async def _prepare(self, course: ActiveRollout) -> bool:
        """The goal, and units, sockets and umbrella as it wants them; False when nothing is to be done now."""
        if self._goal is None:
            rollout = course.rollout
            goal, generation = course.goal(self._host.history, Timestamp.now())
            goal = await self._ground.lay(course, goal, generation)
            self.router.units_changed()
            if course is not self._course or course.rollout is not rollout:
                return False  # a request has turned it meanwhile, and woke us
            self._goal = goal, generation
        if self._umbrella.is_up():
            course.saw_umbrella()
            return True
        if course.umbrella_seen:
            # A machine that goes down stops everything; then the rollout goes on when it is up again.
            if not await self._host.systemd.is_stopping() and await self._ground.clear(course):
                self._sight.lose()
                self._finish(course, Result.ABORTED, f"the app was stopped (systemctl stop {self.name})")
            return False
        if self._goal[0].instances:
            await self._umbrella.start(course.saw_umbrella)
        return True

    def _act(self, action: Action, generation: Generation) -> None:
        course, settings = self._course, generation.settings
        if isinstance(action, Stop | Freeze) and course is not None and course.stopping(action):
            self._host.history.progress(course.rollout, course.replaced, course.adopted)
        self._story.began(action)
        self.instances.act(action, settings)

    def _remember(self, course: ActiveRollout, result: Plan, seen: tuple[Instance, ...], now: Timestamp) -> None:
        """Write down who passed before anything is done because of it."""
        before, rollout = course.rollout.passed, course.rollout
        if course.passed(result.passed, [action for action in result.actions if isinstance(action, Adopt)], now):
            if self._goal is not None and course.rollout.since != rollout.since:
                goal, generation = self._goal
                self._goal = replace(goal, deadline=now.monotonic + generation.settings.pace.deadline), generation
            for item in seen:
                if item.number in result.passed - before and item.generation == rollout.goal:
                    self._story.instance(item.number, rollout.goal, "ready")
            self._host.history.progress(course.rollout, course.replaced, course.adopted)

    def _on_error(self, error: Exception) -> None:
        """Something could not be done, by the loop or by a job that it has begun. On its way back a rollout does not
        pause: it tries until it can."""
        self._loop.wake_after(RETRY)
        course, refused = self._course, isinstance(error, SystemdError)
        rolling = course is not None and course.rollout.phase is not Phase.PAUSED
        lasting = self._faults.note(error, rolling=rolling)
        try:
            if course is not None and lasting is not None:
                self._advance(course, Event.BLOCKED, str(lasting))
            elif course is not None and refused and course.overdue(self._host.history, Timestamp.now()):
                self._advance(course, Event.FAILED, f"the rollout's deadline passed: {error}")
        except Exception as another:
            self._faults.note(another, rolling=False)

    def _note_changes(self) -> tuple[Instance, ...]:
        """The world as it is now; watchers are told when it is different."""
        seen = self.observe()
        self._witness.look(seen)
        self.keeper.look(seen, Timestamp.now(), busy=self.rollout is not None and not self.rollout.suspended)
        if seen != self._seen:
            self._seen = seen
            self._report_change()
        return seen

    # The rollout's life.

    async def _done(self, course: ActiveRollout, goal: Goal, generation: Generation) -> None:
        """All is as the goal wants it; what is left is to close addresses that it does not want."""
        deployment = self._host.deployment
        if goal.generation:
            addresses = deployment.closing(generation.settings)
            if addresses and course.rollout.phase is Phase.ROLLING and not course.rollout.closing:
                self._advance(course, Event.CLOSING, f"to close {' '.join(addresses)}")
                return
            await deployment.close_sockets(generation.settings)
            if course is not self._course or self._goal is None:
                return  # a request has turned it meanwhile
        if course.rollout.phase is Phase.ROLLING_BACK:
            self._advance(course, Event.DONE, course.rollout.reason)
        elif hooks_ran(course, self._host, self._story.tell, self.wake):
            # A success has no reason, unless something is to be said of it.
            self._advance(course, Event.DONE, course.failure.reason if course.failure is not None else "")

    async def _vanished(self, course: ActiveRollout, reason: str) -> None:
        """The release that instances are to be started from is not there: nothing more is stopped for it."""
        if course.rollout.phase is Phase.ROLLING_BACK:
            self._advance(course, Event.STRANDED, f"{course.rollout.reason}; the way back is gone: {reason}")
        else:
            await self._fail(course, Failure(GateName.RELEASE, reason))

    async def _fail(self, course: ActiveRollout, failure: Failure) -> None:
        """A gate failed: say so whole, then go where the table says."""
        rollout = course.rollout
        failure = await self._witness.testify(failure, self._seen)
        if course is not self._course or course.rollout is not rollout:
            return  # superseded, paused or aborted while the journal was read
        if course.rollout.phase is not Phase.ROLLING_BACK:
            course.failure = failure
            self._host.history.failed(course.rollout, failure)
        self._story.failed(failure)
        self._advance(course, Event.FAILED, failure.reason, failure.instance)

    def _advance(self, course: ActiveRollout, event: Event, reason: str, culprit: int | None = None) -> bool:
        rollout, target = course.rollout, course.target
        on_failure = OnFailure.PAUSE if target.irreversible else target.settings.pace.on_failure
        if event is Event.FAILED and rollout.phase is Phase.ROLLING_BACK:
            reason = f"{rollout.reason}; going back failed: {reason}"
        # To pause takes nothing that may be what does not work.
        trusted = frozenset[int]() if event is Event.BLOCKED else course.trusted(self.instances.observe())
        turned = advance(rollout, event, on_failure, reason, trusted)
        if turned is None:
            return False
        if isinstance(turned, Result):
            self._finish(course, turned, reason)
            return True
        course.rollout, self._goal = turned, None
        course.restart_clock(Timestamp.now())
        course.end_hooks()
        self._prober.update(target.settings, target.release, ())
        with contextlib.suppress(Exception) if event is Event.BLOCKED else contextlib.nullcontext():
            self._host.history.move(course.rollout)
        self._story.turned(turned, closing=event is Event.CLOSING)
        if turned.pause is Pause.FAILED and culprit is not None:
            # What failed serves nobody and would be restarted over and over while the rollout stands.
            self._act(Stop(culprit, turned.target, "failed"), target)
        if event is Event.RESUME:
            actions, generation = course.retried(self._host.history, self.instances.observe(), Timestamp.now())
            for action in actions:
                self._act(action, generation)
        self._report_change()
        self.wake()
        return True

    def _finish(self, course: ActiveRollout, result: Result, reason: str) -> None:
        now, rollout = Timestamp.now().wall, course.rollout
        self._host.history.progress(rollout, course.replaced, course.adopted)
        self._host.history.finish(rollout, result, reason, now)
        self._course, self._goal = None, None
        self._story.finished(course, result, reason, now - rollout.started)  # first, whatever becomes of the rest
        course.end_hooks()
        self._analysis.end()
        self._prober.update(course.target.settings, course.target.release, ())
        self._report_change()
        self.wake()  # connections go another way without a rollout, and what stands by is on its own
        self._ground.prune()
