"""What is removed around rollouts: generations that no rollback needs, and pins of instances that do not run."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable

from deployd.errors import StateError
from deployd.instances.actuator import Actuator
from deployd.instances.timers import Timers
from deployd.model.action import Stop
from deployd.model.clock import Timestamp
from deployd.model.instance import State
from deployd.plan.goal import Goal
from deployd.plan.rollback import kept
from deployd.rollout.active import ActiveRollout
from deployd.rollout.teardown import JOB_MARGIN, Teardown
from deployd.routing import Router
from deployd.state.history import History
from deployd.state.pins import Pins
from deployd.units.deployment import Deployment

log = logging.getLogger(__name__)

KEPT = 10
"""Generations whose files are kept although no instance uses them; a rollback writes the files again in any case."""


class Cleanup:
    """Cleans up after rollouts of one app. `generations`: how many the history keeps beyond those still needed."""

    def __init__(
        self,
        app: str,
        history: History,
        pins: Pins,
        deployment: Deployment,
        actuator: Actuator,
        router: Router,
        teardown: Teardown,
        timers: Timers,
        *,
        generations: int,
    ) -> None:
        self._app = app
        self._history = history
        self._pins = pins
        self._deployment = deployment
        self._actuator = actuator
        self._router = router
        self._teardown = teardown
        self._timers = timers
        self._generations = generations

    def unpin_inactive(self) -> None:
        """Remove the pins of inactive instances: starting the app unit starts whatever is pinned, which in a stopped
        app is the old generation. Raises StateError."""
        for item in self._actuator.observe():
            if item.state is State.INACTIVE and item.generation is not None:
                self._pins.unpin(self._app, item.number)

    def prune(self) -> None:
        """Remove generations that are no longer needed from the history, and their files."""
        with contextlib.suppress(StateError):
            past, current = self._history.past(self._app), self._history.current(self._app)
            runs = frozenset(self._timers.under_way().values())
            pinned = frozenset(self._pins.held(self._app).values()) | runs
            self._history.prune(self._app, kept(past, current, self._generations, pinned), Timestamp.now().boot)
            files = kept(past, current, min(KEPT, self._generations))
            # The next number too: a request may be running hooks, which read the files before anything is recorded.
            self._pins.prune(self._app, {self._history.next_number(self._app), *files, *runs})
            self._pins.credentials.prune(self._app, self._history.credentials(self._app))

    async def retire(self) -> None:
        """Stop a process type that the app has no longer, and remove its units. May be repeated.

        Its generations stay in the history, for a rollback. Raises StateError and SystemdError.
        """
        if not self._teardown.installed(self._app):
            return
        log.info("%s: the app has no such process type any more: it is stopped", self._app)
        number = max((item.number for item in self._history.past(self._app)), default=0)
        settings = self._history.settings(self._app, number)
        await self._teardown.take_down(self._app, JOB_MARGIN + (0.0 if settings is None else settings.stop.timeout))
        for instance in self._pins.held(self._app):
            self._pins.unpin(self._app, instance)
        self._router.units_changed()

    async def restore_origin(self, active: ActiveRollout, is_stopped: Callable[[], Awaitable[bool]]) -> bool:
        """After `systemctl stop NAME` during a rollout, have the next start bring up the generation before it.

        False while any instance still runs, which it does if a connection has started the app again, or an action on
        one is under way: its end wakes the loop. One whose start was requested just after systemd had stopped the app
        is stopped here, as long as the app `is_stopped`. Raises StateError and SystemdError.
        """
        instances = self._actuator.observe()
        running = [
            item
            for item in instances
            if item.state not in (State.INACTIVE, State.FAILED) or self._actuator.is_busy(item.number)
        ]
        late = [item for item in running if item.state in (State.STARTING, State.READY)]
        if late and await is_stopped():
            for item in late:
                self._actuator.act(Stop(item.number, item.generation, keep=True), active.target.settings)
        if running:
            return False
        for item in instances:
            await self._actuator.reset(item.number)
        origin = active.rollout.origin
        generation = self._history.generation(self._app, origin) if origin is not None else None
        if generation is not None:
            self._pins.pin_all(self._app, range(1, generation.settings.instances + 1), generation.number)
            goal = Goal.of(generation.settings, generation.number)
            await self._deployment.put_back(generation.settings, goal)
            self._router.units_changed()
        else:
            await self.undeploy(active)
        return True

    async def undeploy(self, active: ActiveRollout) -> None:
        """Close the sockets of a first deployment that came to nothing, and remove its units.

        May be repeated. Raises StateError and SystemdError.
        """
        active.was_up = False  # the app unit is stopped by deployd, and not by an administrator
        await self._teardown.take_down(self._app, active.target.settings.stop.timeout + JOB_MARGIN)
        self._router.units_changed()
