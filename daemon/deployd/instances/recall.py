"""Thaws the standby instances of a generation as soon as a rollback to it is requested, ahead of its rollout."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from deployd.alarm import Alarm
from deployd.instances.executor import Executor
from deployd.model.action import Freeze, Thaw
from deployd.model.app import App
from deployd.model.clock import Timestamp
from deployd.model.instance import Instance, State
from deployd.model.rollout import Rollout
from deployd.plan.goal import Goal
from deployd.state.pins import Pins

log = logging.getLogger(__name__)

LIMIT = 30.0
"""Seconds within which the rollout of a recalled generation must begin; otherwise it returns to standby."""


class Recall:
    """Recalls generations of one app. `up`: is its app unit up; `wake` leads to a call of :meth:`update`."""

    def __init__(
        self, app: str, pins: Pins, executor: Executor, *, up: Callable[[], bool], wake: Callable[[], None]
    ) -> None:
        self._app = app
        self._pins = pins
        self._executor = executor
        self._up = up
        self._alarm = Alarm(wake)
        self._until = 0.0
        self.generation: int | None = None
        """The recalled generation, which gets new connections first until its rollout begins."""

    def begin(self, generation: int, settings: App) -> None:
        """Thaw the standby instances of a generation, if there are any. Raises StateError."""
        numbers = [number for number, one in self._pins.standby(self._app).items() if one.generation == generation]
        if self.generation != generation:
            if not numbers or not self._up():
                return
            log.info("%s: recalling generation %d from standby", self._app, generation)
        self.generation = generation
        self._until = Timestamp.now().monotonic + LIMIT
        self._alarm.clear()
        self._alarm.set(LIMIT)
        for number in numbers:
            self._executor.act(Thaw(number, generation), settings)

    def update(
        self, seen: Iterable[Instance], settings: App | None, rollout: Rollout | None, goal: Goal | None
    ) -> None:
        """End the recall once a rollout has a goal, or after LIMIT. Raises StateError."""
        if goal is not None:
            self.generation = None
        elif settings is not None and rollout is None and Timestamp.now().monotonic >= self._until:
            self.cancel(seen, settings)

    def cancel(self, seen: Iterable[Instance], settings: App) -> None:
        """Return the recalled instances to standby: the rollback was refused. Raises StateError."""
        if self.generation is not None:
            for item in seen:
                if item.generation == self.generation and item.state in (State.READY, State.STARTING):
                    self._executor.act(Freeze(item.number, self.generation), settings)
            self.generation = None

    def stop(self) -> None:
        """Never wake the control loop again."""
        self._alarm.close()
