"""A rollout under way with all that the control loop must know of it: its generations, its goal, its tally."""

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
from deployd.model.instance import Instance, State
from deployd.model.rollout import Hold, Phase, Rollout
from deployd.plan import judge
from deployd.plan.goal import Goal
from deployd.plan.planner import World, retry
from deployd.routing import View
from deployd.state.history import History

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ActiveRollout:
    """Owned by one Controller. `rollout` is what history keeps; the rest is remade when the daemon returns."""

    rollout: Rollout
    target: Generation
    replaced: tuple[int, ...] = field(init=False)
    """Old instances that this rollout stopped or is stopping, in that order."""
    adopted: tuple[int, ...] = field(init=False)
    avoid: tuple[tuple[int, bool], frozenset[int]] | None = None
    """What units were last installed for (generation, closing), and the numbers that new instances must not get."""
    failure: Failure | None = field(init=False)
    """Why the target failed, once it has."""
    hooks: asyncio.Future[Failure | None] | None = None
    """The after hooks, once they have begun."""
    umbrella_seen: bool = False
    """Was the app up since we took the rollout up? Then its being down means that somebody stopped it."""

    def __post_init__(self) -> None:
        self.replaced, self.adopted, self.failure = self.target.replaced, self.target.adopted, self.target.failure

    @staticmethod
    def begun(generation: Generation, holds: tuple[Hold, ...], now: Timestamp) -> Rollout:
        """A rollout to `generation` that begins now."""
        return Rollout(
            generation.app,
            generation.origin,
            generation.number,
            started=generation.started,
            holds=holds,
            since=now.monotonic,
            boot=now.boot,
        )

    @classmethod
    def under_way(cls, app: str, history: History) -> ActiveRollout | None:
        """The one that history knows of, taken up where it stood. Raises StateError."""
        rollout = history.rollout(app)
        generation = history.generation(app, rollout.target) if rollout is not None else None
        if rollout is None or generation is None:
            return None
        log.info("%s: taking up the rollout of generation %d (%s)", app, rollout.target, rollout.phase)
        return cls(rollout, generation)

    def goal(self, history: History, now: Timestamp) -> tuple[Goal, Generation]:
        """What to reach in the present phase, and the generation that this is. Raises StateError."""
        rollout, generation = self.rollout, self.target
        proven = generation.cause is Cause.SCALE
        if rollout.phase is Phase.ROLLING_BACK:
            if rollout.origin is None:
                # The way back of a first deploy leads to nothing.
                return Goal(0, 0), generation
            origin = history.generation(rollout.app, rollout.origin)
            if origin is None:
                raise StateError(f"generation {rollout.origin} of {rollout.app} is missing from the history")
            generation, proven = origin, True
        same = history.same(rollout.app, generation.fingerprint)
        if generation.cause is Cause.RESTART and rollout.phase is not Phase.ROLLING_BACK:
            same = frozenset()  # that nothing has changed is no reason to keep a process
        hold = rollout.holds[0] if rollout.holds and rollout.phase is not Phase.ROLLING_BACK else None
        # Of another boot of the machine nothing is known but that it was earlier.
        since = rollout.since if rollout.boot == now.boot else now.monotonic
        deadline = since + generation.settings.pace.deadline
        goal = Goal.of(generation.settings, generation.number, same=same, deadline=deadline, proven=proven, hold=hold)
        return replace(goal, standby=self._standby(generation, history)), generation

    def _standby(self, generation: Generation, history: History) -> int | None:
        """Whose instances are kept for a while. Not what was bad enough to be gone back from, nor the same again, nor
        what would keep an address open that nobody serves any more."""
        rollout = self.rollout
        back = rollout.phase is Phase.ROLLING_BACK or generation.cause in (Cause.ROLLBACK, Cause.RESTART)
        if back or rollout.closing or rollout.origin is None or not generation.settings.pace.standby:
            return None
        origin = history.settings(rollout.app, rollout.origin)
        return rollout.origin if origin is not None and origin.listen == generation.settings.listen else None

    def trusted(self, instances: Iterable[Instance]) -> frozenset[int]:
        """Instances that ran before this rollout: on the way back they need no gate. Those that it adopted are
        adopted back."""
        return frozenset(
            item.number
            for item in instances
            if item.generation == self.rollout.origin is not None and item.state is not State.INACTIVE
        )

    def unanswered(self, goal: Goal, instances: Iterable[Instance]) -> frozenset[int]:
        """Instances that are ready and do not answer their probe (yet): nobody else should ask them anything."""
        asked = judge.to_probe(goal, instances, self.rollout.passed, 0.0)
        return frozenset(item.number for item in asked if not item.probed_since or item.probe_error)

    def passed(self, numbers: frozenset[int], adopts: Iterable[Adopt], now: Timestamp) -> bool:
        """Note who has passed the gate and who is adopted; True if that is news."""
        adopted = {action.number for action in adopts}
        if numbers == self.rollout.passed and not adopted:
            return False
        if self.rollout.phase is Phase.ROLLING:
            self.adopted += tuple(sorted(adopted - set(self.adopted)))
        got_on = bool(numbers - self.rollout.passed)
        self.rollout = replace(self.rollout, passed=numbers)
        if got_on:
            self.restart_clock(now)
        return True

    def overdue(self, history: History, now: Timestamp) -> bool:
        """Whether its deadline has passed. What systemd refuses again and again never reaches the planner, which minds
        it otherwise. Raises StateError."""
        if self.rollout.phase is not Phase.ROLLING:
            return False
        deadline = self.goal(history, now)[0].deadline
        return deadline is not None and now.monotonic > deadline

    def retried(
        self, history: History, instances: tuple[Instance, ...], now: Timestamp
    ) -> tuple[Iterable[Stop], Generation]:
        """It was resumed: a failure is forgotten, and what lies failed is to be stopped. Raises StateError."""
        if self.failure is not None and self.rollout.phase is Phase.ROLLING:
            self.failure = None  # another try
            history.failed(self.rollout, None)
        goal, generation = self.goal(history, now)
        return retry(goal, World(instances, self.rollout.passed), now.monotonic), generation

    def restart_clock(self, now: Timestamp) -> None:
        """The rollout got on, or may go on: its deadline counts anew."""
        self.rollout = replace(self.rollout, since=now.monotonic, boot=now.boot)

    def stopping(self, action: Stop | Freeze) -> bool:
        """Note that an old instance goes; before it does, for a daemon that returns. True if that is news."""
        rolling = self.rollout.phase is Phase.ROLLING
        surplus = isinstance(action, Stop) and action.why == "surplus"
        old = not surplus and action.generation not in (None, self.rollout.target)
        if not rolling or not old or action.number in self.replaced:
            return False
        self.replaced += (action.number,)
        return True

    def end_hooks(self) -> None:
        """The rollout goes elsewhere: hooks that were begun for its success are stopped."""
        if self.hooks is not None:
            self.hooks.cancel()
            self.hooks = None

    def saw_umbrella(self) -> None:
        """The app is up: its being down from now on means that somebody stopped it."""
        self.umbrella_seen = True


def view(
    course: ActiveRollout | None, goal: Goal | None, seen: tuple[Instance, ...], settings: App, recalled: int | None
) -> View:
    """What routing is told: of a rollout under way, if there is one, with its goal as far as it is known."""
    if course is None:
        return View(seen, settings, prefer=recalled)
    return View(
        seen,
        settings,
        course.rollout,
        course.target.cause,
        recalled,
        waiting=course.unanswered(goal, seen) if goal is not None else frozenset(),
        alike=dict.fromkeys(goal.same, goal.generation) if goal is not None else {},
    )
