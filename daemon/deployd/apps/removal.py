"""Removes an app from this machine: its processes and units first, then its history, then what is remembered of it."""

from __future__ import annotations

from deployd.apps.host_draining import HostDraining
from deployd.apps.registry import Registry
from deployd.apps.supervisor import Supervisor
from deployd.apps.turns import Turns
from deployd.errors import DeploydError
from deployd.model import advice
from deployd.rollout.teardown import JOB_MARGIN, Teardown
from deployd.state.history import History
from deployd.state.pins import Pins


class Removal:
    """For all apps."""

    def __init__(
        self,
        registry: Registry,
        supervisor: Supervisor,
        turns: Turns,
        teardown: Teardown,
        history: History,
        pins: Pins,
        draining: HostDraining,
    ) -> None:
        self._registry = registry
        self._supervisor = supervisor
        self._turns = turns
        self._teardown = teardown
        self._history = history
        self._pins = pins
        self._draining = draining

    async def remove(self, name: str) -> None:
        """Stop the app and remove all that was generated for it.

        After an error the app is still known, as a stopped one, and another call finishes the removal. Raises Busy,
        StateError and SystemdError.
        """
        async with self._turns.removal(name):
            controller = self._registry.controller(name)
            if controller is None and not self._teardown.installed(name):
                return
            self._history.require_writable(name)
            # The app is the last one: until then it is known, and the removal can be repeated.
            members = [item.name for item in self._registry.members(name) if item.name != name]
            for member in [*members, name]:
                self._teardown.check(member)
            for member in [*members, name]:
                await self._remove(member, name)

    async def _remove(self, name: str, application: str) -> None:
        """Remove an app, or a process type of an `application`."""
        controller, timeout = self._registry.controller(name), self._timeout(name)
        if controller is not None:
            await controller.end("the app was removed")
        try:
            await self._teardown.run(name, timeout)
            self._history.forget(name)
        except BaseException as error:
            if controller is not None:
                self._supervisor.restart(name, application)
            if isinstance(error, DeploydError):
                finish = f"{advice.deployd()} remove {application}"
                hint = f"{application} is half removed: correct this, then finish with {finish}"
                raise type(error)(f"{error}; {hint}") from error
            raise
        self._supervisor.forget(name)
        if name == application:
            self._draining.forget(name)

    def _timeout(self, name: str) -> float:
        """Return the seconds that all instances of an app, and runs of its timers, may take to stop."""
        numbers = {*self._pins.held(name).values(), self._history.current(name) or 0}
        settings = [self._history.settings(name, number) for number in numbers]
        known = [item for item in settings if item is not None]
        runs = [timer.stop_timeout for item in known for timer in item.timers]
        return max([*(item.stop.timeout for item in known), *runs], default=0.0) + JOB_MARGIN
