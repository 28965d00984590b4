"""What a rollout stands on: unit files, open sockets, releases, pins; and how it is left when the app was stopped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace

from deployd import config
from deployd.errors import NoAnswer, StateError
from deployd.instances.actuator import Actuator
from deployd.model.app import App
from deployd.model.clock import Timestamp
from deployd.model.generation import Generation
from deployd.model.instance import Instance, State
from deployd.model.rollout import Phase
from deployd.plan.goal import Goal
from deployd.plan.rollback import kept
from deployd.rollout.active import ActiveRollout
from deployd.rollout.host import Host

KEPT = 10
"""Generations whose files are kept though nothing starts from them; a rollback writes them anew in any case."""


class Preparation:
    """Of one app. Raises Refused, StateError, SystemdError."""

    def __init__(self, app: str, host: Host, instances: Actuator) -> None:
        self._app = app
        self._host = host
        self._instances = instances

    def settings(self) -> App | None:
        """Of the generation that the app is at."""
        current = self._host.history.current(self._app)
        return self._host.history.settings(self._app, current) if current is not None else None

    async def lay(self, course: ActiveRollout, goal: Goal, generation: Generation) -> Goal:
        """Install what the goal needs, once for each direction: a resumed rollout finds its units in place.

        Returns the goal with the instance numbers that it cannot use.
        """
        if not goal.generation:
            return goal
        if not self._host.deployment.steers(self._app):
            goal = replace(goal, standby=None)  # unsteered connections would also go to frozen instances
        key = goal.generation, course.rollout.closing
        if course.avoid is None or course.avoid[0] != key:
            install = self._host.deployment.install
            course.avoid = key, await install(generation.settings, goal, closing=course.rollout.closing)
        return replace(goal, avoid=course.avoid[1], masked=self._host.deployment.masked(self._app))

    async def lost(self, course: ActiveRollout, goal: Goal, generation: Generation, seen: Iterable[Instance]) -> str:
        """Why the generation cannot be started any more; "" if it can, or on a way back that has nothing to start.

        Raises StateError when its file system does not answer: that says nothing about the release, and may pass.
        """
        running = sum(item.generation == goal.generation and item.state is not State.INACTIVE for item in seen)
        if not goal.generation or (course.rollout.phase is Phase.ROLLING_BACK and running >= goal.instances):
            return ""
        try:
            return await self._host.workers.run(self._app, config.missing, generation.settings, generation.release)
        except NoAnswer as error:
            raise StateError(str(error)) from None

    def unpin_idle(self) -> None:
        """Starting the umbrella starts whatever is pinned: of a stopped app that would be the old generation."""
        for item in self._instances.observe():
            if item.state is State.INACTIVE and item.generation is not None:
                self._host.pins.unpin(self._app, item.number)

    def prune(self) -> None:
        """Remove generations that are no longer needed from the history, and their files."""
        history, pins = self._host.history, self._host.pins
        with contextlib.suppress(StateError):
            past, current = history.past(self._app), history.current(self._app)
            held = frozenset(pins.held(self._app).values())
            history.prune(self._app, kept(past, current, self._host.generations, held), Timestamp.now().boot)
            # A request may wait for hooks, which read the files of a generation that is not recorded yet.
            files = kept(past, current, min(KEPT, self._host.generations))
            pins.prune(self._app, {history.next_number(self._app), *files})

    async def clear(self, course: ActiveRollout) -> bool:
        """`systemctl stop NAME` in mid-rollout: once all is down, the next start is of where it came from.

        False as long as something still runs.
        """
        await self._instances.settle()
        there = self._instances.observe()
        if any(item.state not in (State.INACTIVE, State.FAILED) for item in there):
            return False
        for item in there:
            self._host.pins.unpin(self._app, item.number)
            await self._host.systemd.reset_failed(self._instances.unit(item.number))
        origin = course.rollout.origin
        generation = self._host.history.generation(self._app, origin) if origin is not None else None
        if generation is not None:
            for number in range(1, generation.settings.instances + 1):
                self._host.pins.pin(self._app, number, generation.number)
            goal = Goal.of(generation.settings, generation.number)
            await self._host.deployment.put_back(generation.settings, goal)
        return True
