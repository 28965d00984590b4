"""The active rollout with all that the control loop knows of it: its phase, what that has to reach, and progress."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from deployd.errors import StateError
from deployd.model.action import Adopt, Freeze, Stop
from deployd.model.app import App
from deployd.model.clock import Timestamp
from deployd.model.failure import Failure
from deployd.model.generation import Cause, Generation
from deployd.model.instance import Instance, Listener, State
from deployd.model.instances import Instances
from deployd.model.rollout import Hold, Phase, Rollout
from deployd.plan import judge
from deployd.plan.goal import Goal
from deployd.plan.planner import Plan
from deployd.routing import Snapshot
from deployd.state.history import History

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Aim:
    """What the active rollout has to reach in its present phase."""

    goal: Goal
    generation: Generation
    """The generation that the goal describes; on a rollback without origin the target, of which nothing is to stay."""


@dataclass(slots=True)
class ActiveRollout:
    """Owned by the Recorder of an app. The history keeps `rollout`; all else is recomputed after a restart."""

    rollout: Rollout
    target: Generation
    was_up: bool = False
    """True once the app unit was up during the rollout; if it is down later, it was stopped by hand."""
    aim: Aim | None = None
    """None until the units of the present phase are installed."""
    over: bool = False
    """True once the rollout has finished or was superseded: code that awaited something must stop then."""
    replaced: tuple[int, ...] = field(init=False)
    """Old instances that this rollout stopped or is stopping, in that order."""
    adopted: tuple[int, ...] = field(init=False)
    avoid: tuple[tuple[int, bool, int], frozenset[int]] | None = None
    """What units were last installed for (generation, closing, ceiling), and the numbers that new instances must not
    get."""
    problems: dict[int, str] = field(default_factory=dict)
    """Instances that this rollout stopped and that did not end as they were asked to, with the reason."""
    unfit: frozenset[int] = frozenset()
    """Instance numbers that cannot be used for a reason of their own."""
    failure: Failure | None = field(init=False)
    """Why the target failed, once it has."""
    begun: bool = False
    """True once it has been planned: it does not wait for another process type any more."""
    arrived: bool = False
    """True while all instances are new and have passed, as of the last plan."""
    settled: str | None = None
    """The reason of the result once nothing is left to be done before the end, for which others may not be ready."""
    after_hooks: asyncio.Future[Failure | None] | None = None
    """The after hooks, once they have begun."""

    def __post_init__(self) -> None:
        self.replaced, self.adopted, self.failure = self.target.replaced, self.target.adopted, self.target.failure

    @staticmethod
    def new(generation: Generation, holds: tuple[Hold, ...], now: Timestamp) -> Rollout:
        """Return a rollout to `generation` that begins now."""
        return Rollout(
            generation.app,
            generation.origin,
            generation.number,
            started=generation.started,
            holds=holds,
            since=now.monotonic,
            began=now.monotonic,
            boot=now.boot,
        )

    @classmethod
    def from_history(cls, app: str, history: History) -> ActiveRollout | None:
        """Return the rollout under way as the history has it, or None. Raises StateError."""
        rollout = history.rollout(app)
        generation = history.generation(app, rollout.target) if rollout is not None else None
        if rollout is None or generation is None:
            return None
        log.info("%s: continuing the rollout to generation %d (%s)", app, rollout.target, rollout.phase)
        return cls(rollout, generation)

    @property
    def has_begun(self) -> bool:
        """True if instances may have been started or stopped for it."""
        return self.begun or bool(self.rollout.passed or self.replaced or self.adopted)

    @property
    def rolls_back(self) -> bool:
        """True if it leads away from a bad generation: automatically, or because that was requested."""
        return self.rollout.phase is Phase.ROLLING_BACK or self.target.cause.rolls_back

    def find_aim(self, history: History, now: Timestamp) -> Aim:
        """Return what the present phase has to reach. Raises StateError."""
        rollout, generation = self.rollout, self.target
        proven = generation.cause in (Cause.SCALE, Cause.RESTART_PROCESS)
        if rollout.phase is Phase.ROLLING_BACK:
            if rollout.origin is None:
                return Aim(Goal(0, 0), generation)  # rolling back a first deployment leaves no instances
            origin = history.generation(rollout.app, rollout.origin)
            if origin is None:
                raise StateError(f"generation {rollout.origin} of {rollout.app} is missing from the history")
            generation, proven = origin, True
        same = history.same(rollout.app, generation.fingerprint)
        fresh = generation.cause is Cause.RESTART or rollout.previewed is not None
        if fresh and rollout.phase is not Phase.ROLLING_BACK:
            same = frozenset()  # a restart, or a preview, takes a new process although nothing has changed
        hold = rollout.holds[0] if rollout.holds and rollout.phase is not Phase.ROLLING_BACK else None
        # CLOCK_MONOTONIC of another boot cannot be compared: the deadline counts from now.
        since = rollout.since if rollout.boot == now.boot else now.monotonic
        settings = generation.settings
        origin_settings = None if rollout.origin is None else history.settings(rollout.app, rollout.origin)
        allowed = settings.pace.deadline
        alongside = hold is not None and hold.canary  # it was asked for, and the settings of the target allow it
        both = self.target.settings.overlap and (origin_settings or settings).overlap
        if not settings.overlap or (not both and not alongside):
            settings = settings.without_overlap()
            # An instance can be available only after another one has ended.
            allowed += max(item.stop.longest for item in (settings, self.target.settings, origin_settings or settings))
        goal = Goal.of(settings, generation.number, same=same, deadline=since + allowed, proven=proven, hold=hold)
        return Aim(replace(goal, allowed=allowed, standby=self._standby(generation, history)), generation)

    def _standby(self, generation: Generation, history: History) -> int | None:
        """Return the generation whose replaced instances go to standby, or None.

        Not after a rollback (its instances were bad), not for a restart (they are the same), and not if `listen`
        changed (a frozen instance would keep an address open that no instance serves).
        """
        rollout = self.rollout
        none = self.rolls_back or generation.cause is Cause.RESTART or not generation.settings.pace.standby
        if none or rollout.closing or rollout.origin is None:
            return None
        origin = history.settings(rollout.app, rollout.origin)
        return rollout.origin if origin is not None and origin.listen == generation.settings.listen else None

    def trusted(self, instances: Iterable[Instance]) -> frozenset[int]:
        """Return the instances of the origin that ran before this rollout: a rollback needs no gate for them. Adopted
        ones are adopted back."""
        return frozenset(
            item.number
            for item in instances
            if item.generation == self.rollout.origin is not None and item.state not in (State.INACTIVE, State.DRAINING)
        )

    def unanswered(self, instances: Iterable[Instance]) -> frozenset[int]:
        """Return the instances that are ready but have yet to pass their probe: clients must not reach them."""
        if self.aim is None:
            return frozenset()
        asked = judge.to_probe(self.aim.goal, instances, self.rollout.passed, 0.0)
        return frozenset(item.number for item in asked if not item.probed_since or item.probe_error)

    def note_plan(self, plan: Plan, now: Timestamp) -> bool:
        """Note which instances passed the gate and which are adopted; True if anything changed."""
        adopted = {action.number for action in plan.actions if isinstance(action, Adopt)}
        if plan.passed == self.rollout.passed and not adopted:
            return False
        if self.rollout.phase is Phase.ROLLING:
            self.adopted += tuple(sorted(adopted - set(self.adopted)))
        progressed = bool(plan.passed - self.rollout.passed)
        self.rollout = replace(self.rollout, passed=plan.passed)
        if progressed:
            self.restart_clock(now)
        return True

    def note_arrival(self, instances: Iterable[Instance], plan: Plan) -> None:
        """Note whether all instances are new and have passed: other process types wait for that."""
        goal = None if self.aim is None else self.aim.goal
        if goal is None or goal.hold is not None or len(plan.passed) < goal.instances:
            self.arrived = False
        else:
            ready = sum(item.state is State.READY and item.number in plan.passed for item in instances)
            self.arrived = ready >= goal.instances

    def note_stop(self, action: Stop | Freeze) -> bool:
        """Note that an old instance is about to be stopped or frozen; True if that is new."""
        rolling = self.rollout.phase is Phase.ROLLING
        surplus = isinstance(action, Stop) and action.why == "surplus"
        old = not surplus and action.generation not in (None, self.rollout.target)
        if not rolling or not old or action.number in self.replaced:
            return False
        self.replaced += (action.number,)
        return True

    def note_problem(self, number: int, problem: str) -> None:
        """Note that an instance did not end as it was asked to."""
        self.problems[number] = problem

    def result_reason(self, reason: str) -> str:
        """Return the reason of the result, with the instances that did not end as they were asked to."""
        if not self.problems:
            return reason
        first, *others = sorted(self.problems)
        also = f"; the same goes for: {', '.join(map(str, others))}" if others else ""
        said = f"instance {first} {self.problems[first]}{also}"
        return f"{reason}; {said}" if reason else said

    def note_unfit(self, numbers: Iterable[int]) -> frozenset[int]:
        """Note instance numbers that cannot be used; return those that are new."""
        new = frozenset(numbers) - self.unfit
        self.unfit |= new
        if self.aim is not None:
            goal = self.aim.goal
            self.aim = replace(self.aim, goal=replace(goal, masked=goal.masked | self.unfit))
        return new

    def note_up(self) -> None:
        """Note that the app unit is up: if it is down from now on, it was stopped by hand."""
        self.was_up = True

    def is_overdue(self, history: History, now: Timestamp) -> bool:
        """True if the deadline has passed.

        The planner checks the deadline otherwise; while systemd refuses every call, it never runs. Raises StateError.
        """
        if self.rollout.phase is not Phase.ROLLING:
            return False
        deadline = self.find_aim(history, now).goal.deadline
        return deadline is not None and now.monotonic > deadline

    def restart_clock(self, now: Timestamp) -> None:
        """Count the deadline from now: the rollout made progress, or was resumed."""
        self.rollout = self.rollout.progressed(now)
        if self.aim is not None:
            deadline = now.monotonic + (self.aim.goal.allowed or 0.0)
            self.aim = replace(self.aim, goal=replace(self.aim.goal, deadline=deadline))

    def enter(self, rollout: Rollout, now: Timestamp) -> None:
        """Enter another phase: its aim is still to be found, its deadline counts from now."""
        self.rollout, self.aim, self.arrived, self.settled = rollout, None, False, None
        self.restart_clock(now)
        self.cancel_after_hooks()

    def cancel_after_hooks(self) -> None:
        """Stop hooks that were begun because the rollout seemed to succeed."""
        if self.after_hooks is not None:
            self.after_hooks.cancel()
            self.after_hooks = None

    def end(self) -> None:
        """Mark the rollout as over."""
        self.over, self.aim = True, None
        self.cancel_after_hooks()


def snapshot(active: ActiveRollout | None, seen: Instances, settings: App, recalled: int | None) -> Snapshot:
    """Return what routing needs to know of the app and of its active rollout, if there is one."""
    deaf = frozenset(item.number for item in seen.others if item.listener is not Listener.PASSED and item.deaf)
    if active is None:
        return Snapshot(seen, settings, prefer=recalled, unanswered=deaf)
    goal = active.aim.goal if active.aim is not None else None
    return Snapshot(
        seen,
        settings,
        active.rollout,
        active.target.cause,
        recalled,
        unanswered=active.unanswered(seen) | deaf,
        adopted_by=dict.fromkeys(goal.same, goal.generation) if goal is not None else {},
    )
