"""A simulated host with random faults: a rollout driven by the planner and the table of transitions.

Starts and stops end late and in any order; instances crash and systemd restarts them; instances are stopped by request;
the machine reboots; the daemon is killed between any two of its steps. Only its saved state and the world survive.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from deployd.model.action import Action, Adopt, Freeze, Start, Stop, Thaw, Unpin
from deployd.model.generation import Result
from deployd.model.instance import Instance, State
from deployd.model.pace import OnFailure
from deployd.model.rollout import Pause, Phase, Rollout
from deployd.plan.goal import Goal
from deployd.plan.planner import Plan, Verdict, World, plan
from deployd.plan.transitions import Event, advance

Observer = Callable[[Goal, World, Plan], None]


@dataclass
class Chaos:
    """One rollout, until it ends. `trouble` is the number of faults still to be injected."""

    chance: random.Random
    world: dict[int, Instance]
    rollout: Rollout
    target: Goal
    origin: Goal
    bad: frozenset[int] = frozenset()
    """Generations whose instances never pass the gate."""
    trouble: int = 0
    crashes: bool = True
    """True if instances may crash before they have passed, too."""
    impatient: bool = False
    """True if the rollout may be aborted while it is paused."""
    forgetful: bool = False
    """True if the daemon may fail to save which instances have passed before it acts."""
    observer: Observer = lambda _goal, _world, _plan: None
    now: float = 1000.0
    saved: frozenset[int] = frozenset()
    doomed: set[int] = field(default_factory=set)
    """Instances that the daemon is stopping; their pins are removed when they are down."""
    cooling: set[int] = field(default_factory=set)
    """Instances that the daemon is about to freeze; they stay running if it is killed."""

    @property
    def goal(self) -> Goal:
        if self.rollout.phase is Phase.ROLLING_BACK:
            return self.origin
        return replace(self.target, hold=self.rollout.holds[0] if self.rollout.holds else None)

    def run(self, most: int) -> Result:
        """Return how the rollout ended; fail if it did not within `most` steps."""
        for _ in range(most):
            self.now += self.chance.choice((0.01, 0.2, 3.0))
            if self.trouble and self.chance.random() < 0.2:
                self.trouble -= 1
                self._disturb()
            if self.chance.random() < 0.6:
                self._progress()
            if self.chance.random() < 0.8:
                result = self._deploy()
                if result is not None:
                    return result
        raise AssertionError(f"still {self.rollout.phase} after {most} steps: {sorted(self.world.items())}")

    def _deploy(self) -> Result | None:
        """Run the daemon once: save which instances have passed, then act. It may be killed at any point."""
        seen = World(tuple(self.chance.sample(list(self.world.values()), len(self.world))), self.rollout.passed)
        made = plan(self.goal, seen, self.now)
        self.observer(self.goal, seen, made)
        if made.verdict is Verdict.HELD:
            self.rollout = replace(self.rollout, passed=made.passed)
            if self.rollout.phase is Phase.PAUSED:
                event = Event.ABORT if self.impatient and self.chance.random() < 0.3 else Event.RESUME
            else:
                event = Event.HELD
            turned = advance(self.rollout, event, OnFailure.ROLLBACK, "", self._trusted())
            assert isinstance(turned, Rollout)
            self.rollout = turned
            return None
        if made.verdict is not Verdict.GOING:
            event = Event.DONE if made.verdict is Verdict.DONE else Event.FAILED
            after = advance(self.rollout, event, OnFailure.ROLLBACK, made.reason, self._trusted())
            assert after is not None
            if isinstance(after, Result):
                return after
            if after.pause is Pause.STRANDED:
                return Result.FAILED  # no request follows
            self.rollout = after
            return None
        dies = self.trouble > 0 and self.chance.random() < 0.1
        if dies and self.chance.random() < 0.5:
            return None
        if not (dies and self.forgetful):
            self.rollout = replace(self.rollout, passed=made.passed)
        for action in made.actions:
            if dies and self.chance.random() < 0.3:
                break
            self._begin(action)
        if dies:
            self.doomed.clear()
            for number in self.cooling:
                self.world[number] = replace(self.world[number], state=State.READY)
            self.cooling.clear()
        return None

    def _trusted(self) -> frozenset[int]:
        return frozenset(
            item.number
            for item in self.world.values()
            if item.generation == self.rollout.origin and item.state is not State.INACTIVE
        )

    def _begin(self, action: Action) -> None:
        item = self.world.get(action.number, Instance(action.number, None, State.INACTIVE))
        match action:
            case Start(_, generation):
                item = Instance(action.number, generation, State.STARTING, started=self.now)
            case Stop() if action.drain:
                item = replace(item, state=State.DRAINING)
            case Stop():
                item = replace(item, state=State.STOPPING)
                self.doomed.add(action.number)
            case Freeze(number):
                # To systemd it is running until it is frozen.
                item = replace(item, state=State.STOPPING)
                self.cooling.add(number)
            case Thaw():
                item = replace(item, state=State.READY)
            case Adopt(_, generation):
                item = replace(item, generation=generation)
            case Unpin():
                item = replace(item, generation=None)
        self.world[action.number] = item

    def _progress(self) -> None:
        """Complete one action in progress."""
        still = (State.INACTIVE, State.READY, State.STANDBY)
        busy = [item for item in self.world.values() if item.state not in still]
        busy = [item for item in busy if item.state is not State.FAILED or not item.refused]
        if not busy:
            return
        item = self.chance.choice(sorted(busy, key=lambda item: item.number))
        fails = item.generation is None or item.generation in self.bad
        match item.state:
            case State.DRAINING:
                item = Instance(item.number, None, State.INACTIVE)
            case State.STOPPING if item.number in self.cooling:
                self.cooling.discard(item.number)
                # Without enough memory it is stopped.
                kept = self.chance.random() < 0.8
                item = replace(item, state=State.STANDBY) if kept else Instance(item.number, None, State.INACTIVE)
            case State.STOPPING:
                pin = None if item.number in self.doomed else item.generation
                self.doomed.discard(item.number)
                item = Instance(item.number, pin, State.INACTIVE)
            case State.STARTING if fails:
                item = replace(item, state=State.FAILED, refused=self._refused(), detail="exited with 1")
            case State.STARTING:
                item = replace(item, state=State.READY, ready_since=self.now)
            case State.FAILED:  # systemd restarts it
                again = item.restarts + 1
                item = replace(item, state=State.STARTING, started=self.now, restarts=again)
        self.world[item.number] = item

    def _disturb(self) -> None:
        up = [item for item in self.world.values() if item.state in (State.READY, State.STANDBY)]
        what = self.chance.choice(("crash", "crash", "stop", "stop", "reboot"))
        if what == "reboot":
            self._reboot()
        elif up:
            item = self.chance.choice(sorted(up, key=lambda item: item.number))
            unproved = item.generation == self.goal.generation and item.number not in self.rollout.passed
            if what == "stop":
                self.world[item.number] = replace(item, state=State.STOPPING, ready_since=0.0)
            elif item.state is State.STANDBY:
                # It has no pin, so systemd cannot start it again.
                self.world[item.number] = replace(item, generation=None, state=State.FAILED, refused=self._refused())
            elif self.crashes or not unproved:
                fallen = replace(item, state=State.FAILED, ready_since=0.0, detail="killed")
                self.world[item.number] = replace(fallen, refused=self._refused())

    def _refused(self) -> bool:
        """True if an instance that has just died counts as a failed start; systemd restarts the others."""
        return self.chance.random() < 0.3

    def _reboot(self) -> None:
        """Start all pinned instances, as at boot. (The clock is not reset, which makes no difference here.)"""
        self.doomed.clear()
        self.cooling.clear()
        self.world = {
            item.number: Instance(item.number, item.generation, State.STARTING, started=self.now)
            for item in self.world.values()
            if item.generation is not None and item.state not in (State.STANDBY, State.DRAINING)
        }
