"""One app's control loop: observe, plan, act; and the rollout that it carries through to its end.

Signals, timers and requests only wake the loop; what to do is recomputed from the world each time. It starts
nothing on its own: without a rollout under way it only watches.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace

from deployd import config
from deployd.control.course import Course
from deployd.control.host import Host
from deployd.control.instances import Instances
from deployd.control.keeper import Keeper
from deployd.control.loop import Loop
from deployd.control.moment import Moment
from deployd.control.story import Story, Tell, held
from deployd.control.umbrella import Umbrella
from deployd.control.witness import Witness
from deployd.errors import DeploydError, Refused, StateError, SystemdError
from deployd.model.action import Action, Adopt, Stop
from deployd.model.app import OnFailure
from deployd.model.failure import Failure, GateName
from deployd.model.generation import Generation, Result
from deployd.model.instance import Instance, State
from deployd.model.rollout import Hold, Pause, Phase, Rollout
from deployd.plan.goal import Goal
from deployd.plan.planner import Plan, Verdict, World, plan, retry
from deployd.plan.transitions import Event, advance

log = logging.getLogger(__name__)

KEPT = 10
"""Generations whose files are kept though nothing starts from them; a rollback writes them anew in any case."""

RETRY = 1.0
"""Seconds until the loop tries again after systemd or the disk refused, when nothing wakes it earlier."""


class Controller:
    """The app `name`. Make it, then :meth:`start`; requests come through :meth:`begin` and :meth:`send`."""

    def __init__(self, name: str, host: Host, *, tell: Tell, changed: Callable[[], None]) -> None:
        self.name = name
        self._host = host
        self._loop = Loop(self._turn)
        self._report_change = changed
        self._story = Story(name, tell, lambda: self._course)
        self._witness = Witness(name, host.history, host.tail)
        self.instances = Instances(
            name,
            host.systemd,
            host.pins,
            changed=self.wake,
            stopped=self._story.stopped,
            failed=self._on_shell_error,
        )
        self._umbrella = Umbrella(name, host.systemd, changed=self.wake, failed=self._on_shell_error)
        self.keeper = Keeper(name, host, self.instances, self._umbrella.is_up, self.wake, changed, self._story.tell)
        self._course: Course | None = None
        self._goal: tuple[Goal, Generation] | None = None
        self._stale = True
        self._looking = asyncio.Lock()
        self._blocked: DeploydError | None = None
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
        self._resume_from_history()
        self._loop.start()

    async def stop(self) -> None:
        """Leave the loop; instances and jobs go on without us."""
        self.keeper.stop()
        await self._loop.stop()

    def wake(self) -> None:
        self._loop.wake()

    def on_unit_change(self, unit: str) -> None:
        """A unit changed; "" when all may have."""
        if unit == "":
            self._stale = True
            self.wake()
        elif self.instances.owns(unit) or unit == self._umbrella.unit:
            self.wake()

    # Requests.

    async def ready(self) -> None:
        """Wait until the loop has looked at the world once. Raises SystemdError."""
        await self._look()

    def begin(self, generation: Generation, holds: tuple[Hold, ...] = ()) -> None:
        """Start rolling out a new generation whose files are written. Raises StateError.

        It takes the place of the rollout under way, if there is one, and goes on from where things stand.
        """
        now = Moment.now()
        old = self._course
        rollout = Rollout(
            self.name,
            generation.origin,
            generation.number,
            started=generation.started,
            holds=holds,
            since=now.monotonic,
            boot=now.boot,
        )
        if old is None:
            self._host.history.begin(generation, rollout)
        else:
            reason = f"superseded by generation {generation.number}"
            self._host.history.progress(old.rollout, old.replaced, old.adopted)
            self._host.history.supersede(old.rollout, reason, generation, rollout)
            self._story.finished(old, Result.SUPERSEDED, reason, now.wall - old.rollout.started)
        self._course, self._goal, self._blocked = Course(rollout, generation), None, None
        if old is not None:
            self._course.umbrella_seen = old.umbrella_seen
        self._story.started(self._course)
        if not self._umbrella.is_up():
            # Starting the umbrella starts whatever is pinned: of a stopped app that would be the old generation.
            for item in self.instances.observe():
                if item.state is State.INACTIVE and item.generation is not None:
                    self._host.pins.unpin(self.name, item.number)
        self.wake()

    def send(self, event: Event, reason: str = "") -> bool:
        """Pause, resume or abort the rollout under way; False where that makes no sense. Raises StateError."""
        return self._course is not None and self._advance(self._course, event, reason)

    def observe(self) -> tuple[Instance, ...]:
        return self.instances.observe()

    # The loop.

    async def _turn(self) -> None:
        """One turn of the loop; nothing gets out of it, for the daemon never dies of one app's trouble."""
        try:
            await self._step()
        except StateError as error:
            self._on_shell_error(error)
        except SystemdError as error:
            log.warning("%s: %s; trying again", self.name, error)
            self._give_up_in_time(error)
            self._loop.wake_after(RETRY)
        except Exception:
            log.exception("%s: unexpected error; trying again", self.name)
            self._stale = True
            self._loop.wake_after(RETRY)

    async def _step(self) -> None:
        await self._look()
        course = self._course
        going = course is not None and await self._ready_to_plan(course)
        seen = self._note_changes()
        if course is None or not going or self._goal is None or course is not self._course:
            return  # no goal: a request turned the rollout while we prepared, and woke us
        goal, generation = self._goal
        now = Moment.now()
        result = plan(goal, World(seen, course.rollout.passed), now.monotonic)
        self._remember(course, result, seen, now)
        match result.verdict:
            case Verdict.DONE:
                self._done(course)
            case Verdict.HELD:
                self._advance(course, Event.HELD, held(course.rollout, goal.instances))
            case Verdict.FAILED:
                if result.failure is not None:
                    await self._fail(course, result.failure)
            case Verdict.GOING:
                gone = self._gone(course, goal, generation, seen) if result.actions else ""
                if gone:
                    await self._vanished(course, gone)
                    return
                for action in result.actions:
                    self._act(action, generation)
                if result.wake_at is not None:
                    self._loop.wake_after(result.wake_at - now.monotonic)

    async def _ready_to_plan(self, course: Course) -> bool:
        """Is there anything to plan, and does all stand that a plan needs?"""
        if self._blocked is not None:
            error, self._blocked = self._blocked, None
            self._advance(course, Event.BLOCKED, str(error))
            return False
        if course.rollout.phase is Phase.PAUSED and course.rollout.pause is not Pause.HELD:
            return False
        try:
            return await self._prepare(course)
        except Refused as error:
            await self._fail(course, Failure(GateName.UNITS, str(error)))
            return False

    def _give_up_in_time(self, error: SystemdError) -> None:
        """What systemd refuses again and again never reaches the planner, which minds the deadline otherwise."""
        course = self._course
        if course is None or course.rollout.phase is not Phase.ROLLING:
            return
        deadline = course.goal(self._host.history, Moment.now())[0].deadline
        if deadline is not None and Moment.now().monotonic > deadline:
            self._advance(course, Event.FAILED, f"the rollout's deadline passed: {error}")

    async def _look(self) -> None:
        """Read the world afresh where the mirror may have missed something."""
        async with self._looking:  # nobody goes on with a half of it
            if self._stale:
                self._stale = False
                try:
                    await self._host.systemd.resubscribe()
                    await self._umbrella.look()
                    await self.instances.discover()
                except SystemdError:
                    self._stale = True
                    raise

    async def _prepare(self, course: Course) -> bool:
        """Units as the goal wants them, the socket open, the umbrella up; False when nothing is to be done now."""
        if self._goal is None:
            goal, generation = course.goal(self._host.history, Moment.now())
            if goal.generation:
                # Once for each direction: a resumed rollout finds its units in place.
                key = goal.generation, course.rollout.closing
                if course.avoid is None or course.avoid[0] != key:
                    course.avoid = key, await self._host.deployment.install(generation.settings, goal)
                goal = replace(goal, avoid=course.avoid[1])
            self._goal = goal, generation
        if self._umbrella.is_up():
            course.saw_umbrella()
            return True
        if course.umbrella_seen:
            # A machine that goes down stops everything; then the rollout goes on when it is up again.
            if not await self._host.systemd.is_stopping():
                await self._stopped_by_hand(course)
            return False
        if self._goal[0].instances:
            await self._umbrella.start(course.saw_umbrella)
        return True

    async def _stopped_by_hand(self, course: Course) -> None:
        """`systemctl stop NAME` in mid-rollout: it ends there, and the next start is of where it came from."""
        await self.instances.settle()
        if any(item.state not in (State.INACTIVE, State.FAILED) for item in self.instances.observe()):
            return
        for item in self.instances.observe():
            self._host.pins.unpin(self.name, item.number)
            await self._host.systemd.reset_failed(self.instances.unit(item.number))
        self._stale = True
        origin = course.rollout.origin
        generation = self._host.history.generation(self.name, origin) if origin is not None else None
        if generation is not None:
            for number in range(1, generation.settings.instances + 1):
                self._host.pins.pin(self.name, number, generation.number)
        self._finish(course, Result.ABORTED, f"the app was stopped (systemctl stop {self.name})")

    def _act(self, action: Action, generation: Generation) -> None:
        course, settings = self._course, generation.settings
        if isinstance(action, Stop) and course is not None and course.stopping(action):
            self._host.history.progress(course.rollout, course.replaced, course.adopted)
        self._story.began(action)
        self.instances.act(action, settings.pace.deadline, settings.stop.timeout)

    def _remember(self, course: Course, result: Plan, seen: tuple[Instance, ...], now: Moment) -> None:
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

    def _on_shell_error(self, error: DeploydError) -> None:
        """An action could not be carried out. A full disk will not mend itself by trying; systemd may."""
        if isinstance(error, StateError) and self._course and self._course.rollout.phase is not Phase.PAUSED:
            log.error("%s: %s", self.name, error)
            self._blocked = error
        else:
            log.warning("%s: %s; trying again", self.name, error)
        self._loop.wake_after(RETRY)

    def _note_changes(self) -> tuple[Instance, ...]:
        """The world as it is now; watchers are told when it is different."""
        seen = self.instances.observe()
        self._witness.look(seen)
        self.keeper.look(seen, Moment.now(), busy=self.rollout is not None and not self.rollout.stands)
        if seen != self._seen:
            self._seen = seen
            self._report_change()
        return seen

    # The rollout's life.

    def _resume_from_history(self) -> None:
        rollout = self._host.history.rollout(self.name)
        generation = self._host.history.generation(self.name, rollout.target) if rollout is not None else None
        if rollout is not None and generation is not None:
            log.info("%s: taking up the rollout of generation %d (%s)", self.name, rollout.target, rollout.phase)
            self._course = Course(rollout, generation)

    def _done(self, course: Course) -> None:
        self._advance(course, Event.DONE, course.rollout.reason)

    @staticmethod
    def _gone(course: Course, goal: Goal, generation: Generation, seen: tuple[Instance, ...]) -> str:
        """Why the generation cannot be started any more; "" if it can, or on a way back that has nothing to start."""
        running = sum(item.generation == goal.generation and item.state is not State.INACTIVE for item in seen)
        if course.rollout.phase is Phase.ROLLING_BACK and running >= goal.instances:
            return ""
        return config.missing(generation.settings, generation.release)

    async def _vanished(self, course: Course, reason: str) -> None:
        """The release that instances are to be started from is not there: nothing more is stopped for it."""
        if course.rollout.phase is Phase.ROLLING_BACK:
            self._advance(course, Event.STRANDED, f"{course.rollout.reason}; the way back is gone: {reason}")
        else:
            await self._fail(course, Failure(GateName.RELEASE, reason))

    async def _fail(self, course: Course, failure: Failure) -> None:
        """A gate failed: say so whole, then go where the table says."""
        failure = await self._witness.testify(failure, self._seen)
        if course is not self._course:
            return  # superseded while the journal was read
        if course.rollout.phase is not Phase.ROLLING_BACK:
            course.failure = failure
            self._host.history.failed(course.rollout, failure)
        self._story.failed(failure)
        self._advance(course, Event.FAILED, failure.reason, failure.instance)

    def _advance(self, course: Course, event: Event, reason: str, culprit: int | None = None) -> bool:
        rollout, target = course.rollout, course.target
        on_failure = OnFailure.PAUSE if target.irreversible else target.settings.pace.on_failure
        turned = advance(rollout, event, on_failure, reason, course.trusted(self.instances.observe()))
        if turned is None:
            return False
        if isinstance(turned, Result):
            if event is not Event.DONE and rollout.phase is Phase.ROLLING_BACK:
                reason = f"{rollout.reason}; going back failed: {reason}"
            self._finish(course, turned, reason)
            return True
        course.rollout, self._goal = turned, None
        course.restart_clock(Moment.now())
        with contextlib.suppress(StateError) if event is Event.BLOCKED else contextlib.nullcontext():
            self._host.history.move(course.rollout)
        self._story.turned(turned, closing=event is Event.CLOSING)
        if turned.pause is Pause.FAILED and culprit is not None:
            # What failed serves nobody and would be restarted over and over while the rollout stands.
            self._act(Stop(culprit, turned.target, "failed"), target)
        if event is Event.RESUME:
            now = Moment.now()
            goal, generation = course.goal(self._host.history, now)
            for action in retry(goal, World(self.instances.observe(), turned.passed), now.monotonic):
                self._act(action, generation)
        self._report_change()
        self.wake()
        return True

    def _finish(self, course: Course, result: Result, reason: str) -> None:
        now, rollout = Moment.now().wall, course.rollout
        self._host.history.progress(rollout, course.replaced, course.adopted)
        self._host.history.finish(rollout, result, reason, now)
        self._course, self._goal = None, None
        self._prune()
        self._story.finished(course, result, reason, now - rollout.started)
        self._report_change()

    def _prune(self) -> None:
        """Generation directories that nothing starts from any more and no rollback reaches cheaply go away."""
        numbers = sorted(self._host.history.releases(self.name), reverse=True)
        with contextlib.suppress(StateError):
            self._host.pins.prune(self.name, set(numbers[:KEPT]))
