"""Runs one controller for each app that has a history or units: starts it, passes unit changes on, stops it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from deployd.apps.announcer import Announcer
from deployd.apps.registry import Registry
from deployd.errors import DeploydError, Refused
from deployd.model import unit_name
from deployd.rollout.controller import Controller

log = logging.getLogger(__name__)

RETRY = 10.0
"""Seconds between attempts to start the controller of an app."""

PATIENCE = 10.0
"""Seconds that controllers have to observe their instances at the daemon's start, and to stop at its end."""


class Supervisor:
    """`make` creates the controller of an app, or of a process type of one.

    `announcer` broadcasts what controllers report.
    """

    def __init__(self, registry: Registry, announcer: Announcer, make: Callable[[str, str], Controller]) -> None:
        self._registry = registry
        self._announcer = announcer
        self._make = make
        self._stopped = False

    async def start(self, names: Iterable[str]) -> None:
        """Start the controllers of the apps and wait, for PATIENCE seconds at most, until they have observed their
        instances, routing and standby. Those that need longer continue afterwards."""
        self.take_up(names)
        await _at_most(PATIENCE, [controller.observed() for controller in self._registry])

    async def stop(self) -> None:
        """Stop all controllers. Instances keep running."""
        self._stopped = True
        self._announcer.stop()
        await _at_most(PATIENCE, [controller.stop() for controller in self._registry])

    def take_up(self, names: Iterable[str]) -> None:
        """Start the controllers of the apps, or let those that run continue with what the history says now.

        One that fails is retried later and does not affect the other apps.
        """
        for name in names:
            try:
                controller = self._registry.controller(name)
                if controller is not None:
                    controller.take_up()
                elif not self._stopped:
                    self.controller(name)
            except Exception:
                log.exception("%s: starting its controller failed, next attempt in %g s", name, RETRY)
                asyncio.get_running_loop().call_later(RETRY, self.take_up, [name])

    def controller(self, name: str, application: str = "") -> Controller:
        """Return the controller of the app, or of the process type of `application`. Start it if there is none yet.

        Raises Refused if something else has that name.
        """
        controller = self._registry.controller(name)
        if controller is not None and application and controller.application != application:
            raise Refused(f"{name} is not a process type of {application}, but an app of its own; remove or rename it")
        if controller is None:
            controller = self._make(name, application)
            controller.start()
            self._registry.add(name, controller)
        return controller

    def members(self, name: str) -> list[Controller]:
        """Return the controllers of an app: its own first, then those of its process types."""
        return self._registry.members(name)

    def restart(self, name: str, application: str = "") -> None:
        """Replace a controller that has ended by a new one."""
        self._registry.drop(name)
        self.controller(name, application)

    def forget(self, name: str) -> None:
        """Forget the controller of an app that has been removed."""
        controller = self._registry.drop(name)
        if controller is not None:
            controller.actuator.forget()
        self._announcer.forget(name)

    def on_unit_change(self, unit: str) -> None:
        """Pass the change of a unit on to the controller of its app; "" means that any unit may have changed."""
        concerned = [self._registry.controller(unit_name.app(unit))] if unit else self._registry
        for controller in concerned:
            if controller is not None:
                controller.on_unit_change(unit)

    def on_mount(self) -> None:
        """Pass on to the controllers that a file system was mounted or unmounted."""
        for controller in self._registry:
            controller.on_mount()


async def _at_most(seconds: float, work: list[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines concurrently, cancel what takes longer than `seconds`, and log errors."""
    tasks = [asyncio.ensure_future(item) for item in work]
    if not tasks:
        return
    done, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
    for task in done:
        if error := task.exception():
            log.warning("%s", error, exc_info=None if isinstance(error, DeploydError) else error)
