"""The apps of this machine: their files, their controllers, and who is told when one of them changes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployd.control.app_files import AppFiles
from deployd.control.comparer import Comparer
from deployd.control.controller import Controller
from deployd.control.host import Host
from deployd.control.moment import Moment
from deployd.control.workers import Workers
from deployd.documents import status
from deployd.documents.status import Json
from deployd.errors import NoSuchApp, Refused, SystemdError
from deployd.model.app import App
from deployd.model.generation import Generation
from deployd.plan import boots
from deployd.plan.backoff import Patience
from deployd.plan.goal import Goal
from deployd.routing import paths

log = logging.getLogger(__name__)

LAG = 0.05
"""Seconds by which the status that is told to watchers may lag behind."""

Emit = Callable[[str, str, dict[str, Any]], None]
"""(app, kind, fields): `changed` with a status, or `event` with a line of progress."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are; the daemon's own settings."""

    apps: Path = Path("/etc/deployd/apps")
    state: Path = Path("/var/lib/deployd")
    units: Path = Path("/etc/systemd/system")
    command: str = "/usr/bin/deployd"
    patience: Patience = field(default_factory=Patience)


class Registry:
    """Every method raises a DeploydError whose text is for people."""

    def __init__(self, settings: Settings, host: Host, emit: Emit) -> None:
        self.settings = settings
        self.history = host.history
        self.pins = host.pins
        self.deployment = host.deployment
        self.hooks = host.hooks
        self.workers = host.workers
        self.viewers = Workers()
        """For those who only look: however many they are, the apps' own workers are free."""
        self.files = AppFiles(settings.apps, self.viewers)
        self.comparer = Comparer(host.systemd, host.history, self.status)
        self._host = host
        self._emit = emit
        self._controllers: dict[str, Controller] = {}
        self._untold: set[str] = set()
        self._ended = False
        self._locks: dict[str, asyncio.Lock] = {}
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up every app that has a history."""
        self._host.systemd.on_change(self._on_unit_change)
        for name in self.history.apps():
            controller = self.controller(name)
            with contextlib.suppress(SystemdError):  # the control loop tries again, and tells
                await controller.ready()
        await self.files.refresh()
        self._reading = asyncio.ensure_future(self.reload())  # of many files, or slow ones, this takes its time

    async def stop(self) -> None:
        self._ended = True
        if self._reading is not None:
            self._reading.cancel()
        for controller in self._controllers.values():
            await controller.stop()

    async def reload(self) -> None:
        """Read the app files again: say which are invalid. What runs is not touched."""
        problems = await self.files.problems()
        for _, _, problem in problems:
            if problem is not None:
                log.warning("%s", problem)
        log.info("read %d app files in %s", len(problems), self.settings.apps)

    def headline(self) -> str:
        """One line for `systemctl status deployd`."""
        rollouts = [item.rollout for item in self._controllers.values() if item.rollout is not None]
        under_way = ", ".join(f"{item.app} to generation {item.target} ({item.phase})" for item in rollouts)
        apps = f"{len(self._controllers)} app{'' if len(self._controllers) == 1 else 's'}"
        return f"{apps}; rolling out {under_way}" if under_way else f"{apps}; no rollout under way"

    def names(self) -> list[str]:
        """Apps with a file and apps with a history."""
        return sorted({*self.files.names, *self._controllers})

    def status(self, name: str) -> Json:
        controller = self.known(name)
        current = self.history.current(name)
        rollout = controller.rollout if controller else None
        shown = current if current is not None else (rollout.target if rollout else None)
        generation = self.history.generation(name, shown) if shown is not None else None
        goal = self.history.generation(name, rollout.goal) if rollout and rollout.goal is not None else generation
        return status.status(
            name,
            generation,
            rollout,
            controller.observe() if controller else (),
            self.history.releases(name),
            goal.settings.instances if goal is not None else 0,
            time.time() - time.monotonic(),
            controller.target if controller else None,
            controller.keeper.troubles() if controller else {},
            boots.summary(self.history.boots(name)),
            controller.router.report() if controller else None,
            controller.standby.status(Moment.now()) if controller else None,
        )

    def known(self, name: str) -> Controller | None:
        """The controller of an app that has a history, None for one with a file only. Raises NoSuchApp."""
        controller = self._controllers.get(name)
        if controller is None and name not in self.files.names:
            raise self.unknown(name)
        return controller

    async def find(self, name: str) -> None:
        """Raises NoSuchApp unless there is such an app now: what has a file only is looked for anew."""
        if name not in self._controllers:
            await self.files.refresh()
        self.known(name)

    def unknown(self, name: str) -> NoSuchApp:
        return NoSuchApp(f"there is no app {name}: no {self.settings.apps}/{name}.toml and no history of it")

    def controller(self, name: str) -> Controller:
        controller = self._controllers.get(name)
        if controller is None:
            controller = Controller(
                name,
                self._host,
                self.comparer.compare,
                tell=lambda event, fields: self.tell(name, event, fields),
                changed=lambda: self._changed(name),
            )
            self._controllers[name] = controller
            controller.start()
        return controller

    def tell(self, name: str, event: str, fields: dict[str, Any]) -> None:
        self._emit(name, "event", {"event": event, "app": name, "time": status.iso(time.time()), **fields})

    def _changed(self, name: str) -> None:
        """Tell watchers soon: many changes in a row are one, for a status is as long as there are instances."""
        if name not in self._untold:
            self._untold.add(name)
            asyncio.get_running_loop().call_later(LAG, self._tell_changed, name)

    def _tell_changed(self, name: str) -> None:
        self._untold.discard(name)
        if name in self._controllers and not self._ended:  # the history may be closed by now
            self._emit(name, "changed", self.status(name))

    def _on_unit_change(self, unit: str) -> None:
        for controller in self._controllers.values():
            controller.on_unit_change(unit)

    def lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    def forget(self, name: str) -> None:
        """The app is removed."""
        controller = self._controllers.pop(name, None)
        if controller is not None:
            controller.instances.forget()
            controller.router.stop()
        paths.forget(name)
        self._host.kernel.forget(name)

    def steers(self, name: str) -> bool:
        """Whether the app is deployed with sockets of its instances' own."""
        return self.deployment.steers(name)

    def current(self, name: str) -> Generation | None:
        number = self.history.current(name)
        return None if number is None else self.history.generation(name, number)

    def require_current(self, name: str) -> Generation:
        self.known(name)
        current = self.current(name)
        if current is None:
            raise Refused(f"{name} is not deployed yet; deployd apply {name} does it")
        return current

    def goal(self, app: App, number: int, fingerprint: str) -> Goal:
        """What a generation with these settings and this fingerprint has to reach."""
        return Goal.of(app, number, same=self.history.same(app.name, fingerprint))

    def learned(self, app: App) -> App:
        """With a gate timeout from past boots, if the file leaves it out."""
        known = self.history.boots(app.name)
        return app.with_learned(boots.gate_timeout(known))

    async def load(self, name: str) -> App:
        """What the app file says now. Raises InvalidFile, NoSuchApp, Refused."""
        return await self.files.load(name, self.workers)
