"""The active rollout of one app: every change of it is written to the history, then reported as an event."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from deployd.model.action import Action, Freeze, Stop
from deployd.model.app import App
from deployd.model.clock import Timestamp
from deployd.model.failure import Failure
from deployd.model.generation import Cause, Generation, Result
from deployd.model.instance import Instance
from deployd.model.probation import Probation
from deployd.model.rollout import Hold, Phase, Rollout
from deployd.plan import probation
from deployd.plan.planner import Plan
from deployd.plan.transitions import Event
from deployd.rollout.active import ActiveRollout, Aim
from deployd.rollout.events import Events
from deployd.rollout.hook_runner import Change
from deployd.state.ends import Beginning, Ending
from deployd.state.history import History


class Recorder:
    """Owns the active rollout of `app`, which may be a process type of the app `application`.

    Methods raise StateError if the history cannot be read or written.
    """

    def __init__(self, app: str, history: History, events: Events, application: str = "") -> None:
        self._app = app
        self._application = application or app
        self._history = history
        self._events = events
        self.active: ActiveRollout | None = None
        self._live: Generation | None = None
        """The current generation, as far as it was read since it may have become another."""

    @property
    def rollout(self) -> Rollout | None:
        """The rollout under way."""
        return self.active.rollout if self.active is not None else None

    @property
    def target(self) -> Generation | None:
        """The generation that the active rollout made, with the failure found so far."""
        active = self.active
        return None if active is None else replace(active.target, failure=active.failure)

    def live(self) -> Generation | None:
        """Return the current generation of the app. Each turn of the control loop asks."""
        if self._live is None:
            current = self._history.current(self._app)
            self._live = self._history.generation(self._app, current) if current is not None else None
        return self._live

    def settings(self) -> App | None:
        """Return the settings of the current generation of the app."""
        live = self.live()
        return live.settings if live is not None else None

    def retire(self) -> None:
        """Note that a process type has no current generation any more, if it has one."""
        if self._history.current(self._app) is not None:
            self._history.retire(self._app)
            self._live = None

    def find_aim(self, active: ActiveRollout, now: Timestamp) -> Aim:
        """Return what the present phase of the active rollout has to reach."""
        return active.find_aim(self._history, now)

    def is_overdue(self, active: ActiveRollout) -> bool:
        """True if the deadline of the active rollout has passed."""
        return active.is_overdue(self._history, Timestamp.now())

    def change(self, active: ActiveRollout) -> Change:
        """Return the change that hooks are run for."""
        return Change.of(active.target, self._history.releases(self._app, [active.target.origin]))

    def take_up(self) -> None:
        """Continue the rollout that the history has, in place of the active one."""
        following = ActiveRollout.from_history(self._app, self._history)
        if self.active is not None:
            self.active.end()
        self._follow(following)

    def begin(self, generation: Generation, holds: tuple[Hold, ...]) -> None:
        """Make a rollout to `generation` the active one; it supersedes the active one, if there is one."""
        self.begin_all([Begin(self, generation, holds)])

    def begin_all(self, begins: Sequence[Begin]) -> None:
        """Begin the rollouts of an app and of its process types: all of them, or none."""
        now = Timestamp.now()
        beginnings = [item.recorder.beginning(item.generation, item.holds, now) for item in begins]
        self._history.begin_together(beginnings, now)
        for item, beginning in zip(begins, beginnings, strict=True):
            item.recorder.begun(beginning, now)

    def beginning(self, generation: Generation, holds: tuple[Hold, ...], now: Timestamp) -> Beginning:
        """Return what the history has to record before :meth:`begun`."""
        rollout, old = ActiveRollout.new(generation, holds, now), self.active
        if old is None:
            return Beginning(generation, rollout)
        old.cancel_after_hooks()
        self.progress(old)
        return Beginning(generation, rollout, old.rollout, f"superseded by generation {generation.number}")

    def begun(self, beginning: Beginning, now: Timestamp) -> None:
        """Make the recorded rollout the active one."""
        generation, old = beginning.generation, self.active
        if old is not None:
            self._events.finished(old, Result.SUPERSEDED, beginning.reason, old.rollout.lasted(now))
            old.end()
        active = ActiveRollout(beginning.rollout, generation, was_up=old is not None and old.was_up)
        self._follow(active)
        origin = generation.origin
        self._events.started(active, self._history.releases(self._app, [origin]).get(origin) if origin else None)

    def weigh(self, weight: tuple[int, float]) -> Rollout | None:
        """Set the weight of a generation; return the rollout with it, or None if no rollout can have one now."""
        active = self.active
        if active is None or active.rollout.phase is Phase.ROLLING_BACK:
            return None
        rollout = replace(active.rollout, weight=weight)
        self._history.move(rollout)
        active.rollout = rollout
        return rollout

    def move(self, active: ActiveRollout, rollout: Rollout, event: Event) -> None:
        """Put the active rollout into another phase."""
        active.enter(rollout, Timestamp.now())
        # A rollout that pauses because of a full disk cannot record the pause there.
        with contextlib.suppress(Exception) if event is Event.BLOCKED else contextlib.nullcontext():
            self._history.move(active.rollout)
        if event is not Event.TESTED:  # an event of its own
            self._events.moved(active, closing=event is Event.CLOSING)

    def fail(self, active: ActiveRollout, failure: Failure) -> None:
        """Record why the target failed; a failure of the rollback is only reported."""
        if active.rollout.phase is not Phase.ROLLING_BACK:
            self.set_failure(active, failure)
        self._events.failed(failure)

    def set_failure(self, active: ActiveRollout, failure: Failure | None) -> None:
        """Record the failure of the target, or None to try it again."""
        active.failure = failure
        self._history.failed(active.rollout, failure)

    def planned(self, active: ActiveRollout, plan: Plan, instances: tuple[Instance, ...], now: Timestamp) -> None:
        """Record which instances passed the gate, or were adopted, before actions follow from that."""
        before, goal = active.rollout.passed, active.rollout.goal
        self.leave_out(active, {item.instance: item.reason for item in plan.unfit if item.instance is not None})
        if active.note_plan(plan, now):
            news = plan.passed - before
            for item in instances if news else ():
                if item.number in news and item.generation == goal:
                    self._events.instance(item.number, goal, "ready")
            self.progress(active)

    def leave_out(self, active: ActiveRollout, reasons: Mapping[int, str]) -> None:
        """Report instance numbers that cannot be used, once each, with the reasons."""
        for number in sorted(active.note_unfit(reasons)):
            self._events.left_out(number, reasons[number])

    def probing(self, asked: Collection[Instance]) -> None:
        """Report bad answers of the probed instances."""
        self._events.probing(asked)

    def acting(self, action: Action) -> None:
        """Record and report an action before it begins, so that a killed daemon continues correctly."""
        active = self.active
        if active is not None and isinstance(action, Stop | Freeze) and active.note_stop(action):
            self.progress(active)
        self._events.began(action)

    def progress(self, active: ActiveRollout) -> None:
        """Record which instances passed the gate, were replaced and were adopted so far."""
        self._history.progress(active.rollout, active.replaced, active.adopted)

    def finish(self, active: ActiveRollout, result: Result, reason: str) -> None:
        """End the active rollout with its result; a success begins the probation of its target."""
        self.finish_all([Finish(self, active, result, reason)])

    def finish_all(self, ends: Sequence[Finish]) -> None:
        """End active rollouts of an app and of its process types: all of them, or none."""
        now = Timestamp.now()
        endings = [item.recorder.ending(item.active, item.result, item.reason, now) for item in ends]
        self._history.finish_together(endings, now)
        for item, ending in zip(ends, endings, strict=True):
            item.recorder.ended(item.active, ending, now)

    def ending(self, active: ActiveRollout, result: Result, reason: str, now: Timestamp) -> Ending:
        """Return what the history has to record before :meth:`ended`."""
        reason = active.result_reason(reason)
        self.progress(active)
        return Ending(active.rollout, result, reason, self._probation(active, result, reason, now))

    def ended(self, active: ActiveRollout, ending: Ending, now: Timestamp) -> None:
        """Report the recorded result of the active rollout, of which there is none any more."""
        self._follow(None)
        watched = ending.probation if ending.result is Result.SUCCEEDED else None
        lasted = ending.rollout.lasted(now)
        self._events.finished(active, ending.result, ending.reason, lasted, watched)  # whatever fails after it
        active.end()

    def _probation(self, active: ActiveRollout, result: Result, reason: str, now: Timestamp) -> Probation | None:
        """Return the probation of the generation that is live once the active rollout has ended with this result."""
        target, before = active.target, self._history.probation(self._app)
        if result is Result.SUCCEEDED:
            # A process type returns to where its app returns.
            whole = self._history.generation(self._application, target.number) or target
            past, lasted = self._history.past(self._application), active.rollout.lasted(now)
            found = probation.begun(whole, past, before, lasted, now)
            return None if found is None else replace(found, app=self._app)
        if before is not None and not before.failed and target.cause is Cause.WATCH:
            # One automatic step at most.
            why = f"{target.reason}; generation {before.generation} stays live: generation {target.number} ended"
            return replace(before, failed=f"{why} {result}{f': {reason}' if reason else ''}")
        return before

    def _follow(self, active: ActiveRollout | None) -> None:
        self.active, self._live = active, None
        self._events.follow(active)


@dataclass(frozen=True, slots=True)
class Begin:
    """A generation to which the rollout of one app or process type begins, with its steps."""

    recorder: Recorder
    generation: Generation
    holds: tuple[Hold, ...] = ()


@dataclass(frozen=True, slots=True)
class Finish:
    """The result with which an active rollout ends."""

    recorder: Recorder
    active: ActiveRollout
    result: Result
    reason: str
