"""One app's control loop: observe, plan, act; and the rollout that it carries through to its end.

Signals, timers and requests only wake the loop; what to do is recomputed from the world each time. It starts
nothing on its own: without a rollout under way it only watches.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from deployd.control.course import Course
from deployd.control.deployment import Deployment
from deployd.control.instances import Instances
from deployd.control.umbrella import Umbrella
from deployd.errors import DeploydError, Refused, StateError, SystemdError
from deployd.model.action import Action, Adopt, Start, Stop
from deployd.model.app import App, OnFailure
from deployd.model.generation import Generation, Result
from deployd.model.instance import Instance, State
from deployd.model.rollout import Phase, Rollout
from deployd.plan.goal import Goal
from deployd.plan.planner import Plan, Verdict, World, plan, retry
from deployd.plan.transitions import Event, advance
from deployd.state.history import History
from deployd.state.pins import Pins
from deployd.systemd.manager import Systemd

log = logging.getLogger(__name__)

KEPT = 10
"""Generations whose files are kept though nothing starts from them; a rollback writes them anew in any case."""

RETRY = 1.0
"""Seconds until the loop tries again after systemd or the disk refused, when nothing wakes it earlier."""

Tell = Callable[[str, dict[str, Any]], None]
"""(event, fields): one line of a rollout's progress."""


class Controller:
    """The app `name`. Make it, then :meth:`start`; requests come through :meth:`begin` and the phase methods."""

    def __init__(
        self,
        name: str,
        systemd: Systemd,
        history: History,
        pins: Pins,
        deployment: Deployment,
        *,
        tell: Tell,
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self._systemd = systemd
        self._history = history
        self._pins = pins
        self._deployment = deployment
        self._report_event = tell
        self._report_change = changed
        self.instances = Instances(
            name,
            systemd,
            pins,
            changed=self.wake,
            stopped=self._on_stopped,
            failed=self._on_shell_error,
        )
        self._umbrella = Umbrella(name, systemd, changed=self.wake, failed=self._on_shell_error)
        self._course: Course | None = None
        self._goal: tuple[Goal, App] | None = None
        self._stale = True
        self._looking = asyncio.Lock()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._blocked: DeploydError | None = None
        self._seen: tuple[Instance, ...] = ()
        self._recorded: set[str] = set()

    @property
    def rollout(self) -> Rollout | None:
        """The rollout under way."""
        return self._course.rollout if self._course is not None else None

    def start(self) -> None:
        """Take up the rollout that history knows of, if any, and begin to watch."""
        self._resume_from_history()
        self._task = asyncio.ensure_future(self._run())

    async def stop(self) -> None:
        """Leave the loop; instances and jobs go on without us."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def wake(self) -> None:
        self._wake.set()

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

    def begin(self, generation: Generation, origin: int | None) -> None:
        """Start rolling out a new generation whose files are written. Raises StateError."""
        rollout = Rollout(self.name, origin, generation.number, started=generation.started)
        self._history.begin(generation, rollout)
        self._course, self._goal = Course(rollout, generation), None
        desired = generation.settings.instances
        self._tell("started", {"release": generation.release, "cause": str(generation.cause), "desired": desired})
        if not self._umbrella.is_up():
            # Starting the umbrella starts whatever is pinned: of a stopped app that would be the old generation.
            for item in self.instances.observe():
                if item.state is State.INACTIVE and item.generation is not None:
                    self._pins.unpin(self.name, item.number)
        self.wake()

    def send(self, event: Event, reason: str = "") -> bool:
        """Pause, resume or abort the rollout under way; False where that makes no sense. Raises StateError."""
        return self._course is not None and self._advance(self._course, event, reason)

    def observe(self) -> tuple[Instance, ...]:
        return self.instances.observe()

    # The loop.

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._step()
            except StateError as error:
                self._on_shell_error(error)
                self._look_again(RETRY)
            except SystemdError as error:
                log.warning("%s: %s; trying again", self.name, error)
                self._give_up_in_time(error)
                self._look_again(RETRY)
            except Exception:
                # The daemon never dies of one app's trouble.
                log.exception("%s: unexpected error; trying again", self.name)
                self._stale = True
                self._look_again(RETRY)
            await self._wake.wait()

    async def _step(self) -> None:
        await self._look()
        course = self._course
        going = course is not None and await self._ready_to_plan(course)
        seen = self._note_changes()
        if course is None or not going or self._goal is None:
            return  # no goal: a request turned the rollout while we prepared, and woke us
        goal, settings = self._goal
        result = plan(goal, World(seen, course.rollout.passed), time.monotonic())
        self._remember(course, result, seen)
        if result.verdict is Verdict.DONE:
            self._advance(course, Event.DONE, course.rollout.reason)
        elif result.verdict is Verdict.FAILED:
            self._tell("failed-gate", {"instance": result.culprit, "reason": result.reason})
            self._advance(course, Event.FAILED, result.reason, result.culprit)
        else:
            for action in result.actions:
                self._act(action, settings)
            if result.wake_at is not None:
                self._look_again(max(0.0, result.wake_at - time.monotonic()))

    async def _ready_to_plan(self, course: Course) -> bool:
        """Is there anything to plan, and does all stand that a plan needs?"""
        if self._blocked is not None:
            error, self._blocked = self._blocked, None
            self._advance(course, Event.BLOCKED, str(error))
            return False
        if course.rollout.phase is Phase.PAUSED:
            return False
        try:
            return await self._prepare(course)
        except Refused as error:
            self._advance(course, Event.FAILED, str(error))
            return False

    def _give_up_in_time(self, error: SystemdError) -> None:
        """What systemd refuses again and again never reaches the planner, which minds the deadline otherwise."""
        course = self._course
        if course is None or course.rollout.phase is not Phase.ROLLING:
            return
        if time.time() > course.rollout.started + course.target.settings.pace.deadline:
            self._advance(course, Event.FAILED, f"the rollout's deadline passed: {error}")

    async def _look(self) -> None:
        """Read the world afresh where the mirror may have missed something."""
        async with self._looking:  # nobody goes on with a half of it
            if self._stale:
                self._stale = False
                try:
                    await self._systemd.resubscribe()
                    await self._umbrella.look()
                    await self.instances.discover()
                except SystemdError:
                    self._stale = True
                    raise

    async def _prepare(self, course: Course) -> bool:
        """Units as the goal wants them, the socket open, the umbrella up; False when nothing is to be done now."""
        if self._goal is None:
            goal, settings = course.goal(self._history, time.time(), time.monotonic())
            if goal.generation:
                # Once for each direction: a resumed rollout finds its units in place.
                if course.avoid is None or course.avoid[0] != goal.generation:
                    course.avoid = goal.generation, await self._deployment.install(settings, goal)
                goal = replace(goal, avoid=course.avoid[1])
            self._goal = goal, settings
        if self._umbrella.is_up():
            course.saw_umbrella()
            return True
        if course.umbrella_seen:
            # A machine that goes down stops everything; then the rollout goes on when it is up again.
            if not await self._systemd.is_stopping():
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
            self._pins.unpin(self.name, item.number)
            await self._systemd.reset_failed(self.instances.unit(item.number))
        self._stale = True
        origin = course.rollout.origin
        generation = self._history.generation(self.name, origin) if origin is not None else None
        if generation is not None:
            for number in range(1, generation.settings.instances + 1):
                self._pins.pin(self.name, number, generation.number)
        self._finish(course, Result.ABORTED, f"the app was stopped (systemctl stop {self.name})")

    def _act(self, action: Action, settings: App) -> None:
        match action:
            case Start(number, generation):
                self._tell("instance", {"instance": number, "generation": generation, "state": "starting"})
            case Stop(number, generation, why):
                if self._course is not None and self._course.stopping(action):
                    self._history.progress(self._course.rollout, self._course.replaced, self._course.adopted)
                fields = {"instance": number, "generation": generation, "state": "stopping", "reason": self._why(why)}
                self._tell("instance", fields)
            case Adopt(number, generation):
                self._tell("instance", {"instance": number, "generation": generation, "state": "adopted"})
        self.instances.act(action, settings.pace.deadline, settings.stop.timeout)

    def _remember(self, course: Course, result: Plan, seen: tuple[Instance, ...]) -> None:
        """Write down who passed before anything is done because of it."""
        before, rollout = course.rollout.passed, course.rollout
        if course.passed(result.passed, [action for action in result.actions if isinstance(action, Adopt)]):
            for item in seen:
                if item.number in result.passed - before and item.generation == rollout.goal:
                    fields = {"instance": item.number, "generation": rollout.goal, "state": "ready"}
                    self._tell("instance", fields)
            self._history.progress(course.rollout, course.replaced, course.adopted)

    def _on_stopped(self, action: Stop) -> None:
        why = self._why(action.why)
        fields = {"instance": action.number, "generation": action.generation, "state": "stopped", "reason": why}
        self._tell("instance", fields)

    def _why(self, why: str) -> str:
        rollout = self.rollout
        back = rollout is not None and rollout.phase is Phase.ROLLING_BACK and why == "replaced"
        return "rolled back" if back else why

    def _tell(self, event: str, fields: dict[str, Any]) -> None:
        """One line of progress. Each names its rollout, or those who wait for one could not tell whose it is."""
        rollout = self.rollout
        whose = {} if rollout is None else {"from": rollout.origin, "to": rollout.target}
        self._report_event(event, {**whose, **fields})

    def _on_shell_error(self, error: DeploydError) -> None:
        """An action could not be carried out. A full disk will not mend itself by trying; systemd may."""
        if isinstance(error, StateError) and self._course and self._course.rollout.phase is not Phase.PAUSED:
            log.error("%s: %s", self.name, error)
            self._blocked = error
        else:
            log.warning("%s: %s; trying again", self.name, error)
        self._look_again(RETRY)

    def _look_again(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay, self.wake)

    def _note_changes(self) -> tuple[Instance, ...]:
        """The world as it is now; watchers are told when it is different, and history which invocation is whose."""
        seen = self.instances.observe()
        for item in seen:
            if item.generation is not None and item.invocation_id and item.invocation_id not in self._recorded:
                self._recorded.add(item.invocation_id)
                with contextlib.suppress(StateError):
                    self._history.saw(self.name, item.generation, item.number, item.invocation_id)
        if seen != self._seen:
            self._seen = seen
            self._report_change()
        return seen

    # The rollout's life.

    def _resume_from_history(self) -> None:
        rollout = self._history.rollout(self.name)
        generation = self._history.generation(self.name, rollout.target) if rollout is not None else None
        if rollout is not None and generation is not None:
            log.info("%s: taking up the rollout of generation %d (%s)", self.name, rollout.target, rollout.phase)
            self._course = Course(rollout, generation)

    def _advance(self, course: Course, event: Event, reason: str, culprit: int | None = None) -> bool:
        rollout, settings = course.rollout, course.target.settings
        trusted = course.trusted(self.instances.observe())
        turned = advance(rollout, event, settings.pace.on_failure, reason, trusted)
        if turned is None:
            return False
        if isinstance(turned, Result):
            if event is not Event.DONE and rollout.phase is Phase.ROLLING_BACK:
                reason = f"{rollout.reason}; going back failed: {reason}"
            self._finish(course, turned, reason)
            return True
        course.rollout, self._goal = turned, None
        with contextlib.suppress(StateError) if event is Event.BLOCKED else contextlib.nullcontext():
            self._history.move(turned)
        name = {Phase.ROLLING_BACK: "rolling-back", Phase.PAUSED: "paused", Phase.ROLLING: "resumed"}[turned.phase]
        self._tell(name, {"reason": turned.reason})
        if turned.phase is Phase.PAUSED and settings.pace.on_failure is OnFailure.PAUSE and culprit is not None:
            # What failed serves nobody and would be restarted over and over while the rollout stands.
            self._act(Stop(culprit, turned.target, "failed"), settings)
        if event is Event.RESUME:
            goal, _ = course.goal(self._history, time.time(), time.monotonic())
            for action in retry(goal, World(self.instances.observe(), turned.passed)):
                self._act(action, settings)
        self._report_change()
        self.wake()
        return True

    def _finish(self, course: Course, result: Result, reason: str) -> None:
        now, rollout = time.time(), course.rollout
        self._history.progress(rollout, course.replaced, course.adopted)
        self._history.finish(rollout, result, reason, now)
        self._course, self._goal = None, None
        self._prune()
        self._tell(
            "finished",
            {
                "result": str(result),
                "reason": reason,
                "generation": rollout.target,
                "from": rollout.origin,
                "to": rollout.target,
                "replaced": list(course.replaced),
                "adopted": list(course.adopted),
                "duration": round(now - rollout.started, 3),
            },
        )
        self._report_change()

    def _prune(self) -> None:
        """Generation directories that nothing starts from any more and no rollback reaches cheaply go away."""
        numbers = sorted(self._history.releases(self.name), reverse=True)
        with contextlib.suppress(StateError):
            self._pins.prune(self.name, set(numbers[:KEPT]))
