"""The apps of this machine: their files, their controllers, and who is told when one of them changes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployd import config
from deployd.apps.announcer import Announcer
from deployd.apps.app_files import AppFiles
from deployd.apps.comparer import Comparer
from deployd.apps.removal import Removal
from deployd.documents import status
from deployd.documents.status import Json
from deployd.errors import DeploydError, InvalidRequest, NoSuchApp, Refused, StateError
from deployd.files.workers import Workers
from deployd.model.app import App
from deployd.model.clock import Timestamp, iso
from deployd.model.event import EventName
from deployd.model.generation import Generation
from deployd.model.instance import State
from deployd.plan import boots
from deployd.plan.backoff import Patience
from deployd.plan.goal import Goal
from deployd.rollout.controller import Controller
from deployd.rollout.host import Host
from deployd.routing import unix_addresses
from deployd.systemd.complaints import Complaining

log = logging.getLogger(__name__)

LOCKED = 1.0
"""Seconds between attempts to open a history that another process has locked."""

RETRY = 10.0
"""Seconds until an app is taken up again that could not be."""

PATIENCE = 10.0
"""Seconds that the apps get to look at the world before requests are taken, and to leave when the daemon ends."""

JOB_MARGIN = 30.0
"""Seconds beyond the instances' own time-outs that an app gets to stop."""

Emit = Callable[[str, str, dict[str, Any]], None]
"""(app, kind, fields): `changed` with a status, or `event` with a line of progress."""


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """Where things are; the daemon's own settings."""

    apps: Path = Path("/etc/deployd/apps")
    state: Path = Path("/var/lib/deployd")
    units: Path = Path("/etc/systemd/system")
    scratch: Path = Path("/run/deployd/verify")
    command: str = "/usr/bin/deployd"
    patience: Patience = field(default_factory=Patience)
    generations: int = 200
    """So many of each app are remembered."""


class Registry:
    """Every method raises a DeploydError whose text is for people."""

    def __init__(self, settings: DaemonSettings, host: Host, removal: Removal, emit: Emit) -> None:
        self.settings = settings
        self.history = host.history
        self.pins = host.pins
        self.deployment = host.deployment
        self.hooks = host.hooks
        self.workers = host.workers
        self.viewers = Workers()
        """For those who only look: however many they are, the apps' own workers are free."""
        self.files = AppFiles(settings.apps, self.viewers)
        self.comparer = Comparer(host.systemd, host.history, self.status, Complaining(run=Workers(places=1).run))
        # A rollout's analysis waits for its own comparison, never for what everyone may ask.
        self.public_comparer = Comparer(host.systemd, host.history, self.status, Complaining(run=Workers(places=1).run))
        self._host = host
        self._removal = removal
        self._emit = emit
        self._controllers: dict[str, Controller] = {}
        self._announcer = Announcer(self._tell_changed, self._standing)
        self._ended = False
        self._reading: asyncio.Task[None] | None = None
        self._looking_again: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Take up every app that has a history, or generations on the disk."""
        self._host.systemd.on_change(self._on_unit_change)
        self._log_trouble()
        # An app with units may be running although all of its state is lost.
        self._take_up(sorted({*self.history.apps(), *self.deployment.apps()}))
        # All at once, and not for ever: the control loops try again, and tell.
        await _at_most(PATIENCE, [controller.ready() for controller in self._controllers.values()])
        await self.files.refresh()
        self._reading = asyncio.ensure_future(self.reload())  # of many files, or slow ones, this takes its time

    async def stop(self) -> None:
        self._ended = True
        self._announcer.stop()
        if self._reading is not None:
            self._reading.cancel()
        await _at_most(PATIENCE, [controller.stop() for controller in self._controllers.values()])

    async def reload(self) -> None:
        """Read the app files again: say which are invalid. What runs is not touched."""
        self._refresh()
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
        troubles = [trouble for name in ("", *self._controllers) if (trouble := self.history.source.trouble(name))]
        if troubles:
            return f"{apps}; no changes: {troubles[0]}"
        return f"{apps}; rolling out {under_way}" if under_way else f"{apps}; no rollout under way"

    def names(self) -> list[str]:
        """Apps with a file and apps with a history."""
        return sorted({*self.files.names, *self._controllers})

    def status(self, name: str) -> Json:
        controller = self.known(name)
        current = self.history.current(name)
        rollout = controller.rollout if controller else None
        trouble = self.history.source.trouble(name)
        try:
            seen = controller.observe() if controller else ()
        except StateError as error:
            seen, trouble = (), trouble or str(error)  # the other apps are told of all the same
        shown = current if current is not None else (rollout.target if rollout else None)
        generation = self.history.generation(name, shown) if shown is not None else None
        goal = self.history.generation(name, rollout.goal) if rollout and rollout.goal is not None else generation
        return status.status(
            name,
            generation,
            rollout,
            seen,
            self.history.releases(name, {item.generation for item in seen}),
            goal.settings.instances if goal is not None else 0,
            time.time() - time.monotonic(),
            controller.target if controller else None,
            controller.keeper.troubles() if controller else {},
            boots.summary(self.history.boots(name)),
            controller.router.backend.report() if controller else None,
            controller.standby.status(Timestamp.now()) if controller else None,
            trouble,
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
        if not config.is_name(name):
            return NoSuchApp('there is no such app: names have up to 63 letters, digits, ".", "-" and "_"')
        return NoSuchApp(f"there is no app {name}: no {self.settings.apps}/{name}.toml and no history of it")

    def controller(self, name: str) -> Controller:
        controller = self._controllers.get(name)
        if controller is None:
            controller = Controller(
                name,
                self._host,
                self.comparer.compare,
                tell=lambda event, fields: self.tell(name, event, fields),
                changed=lambda: self._announcer.changed(name),
            )
            controller.start()
            self._controllers[name] = controller
        return controller

    def tell(self, name: str, event: EventName, fields: dict[str, Any]) -> None:
        """Emit one progress event. A failure to emit it does not affect the work itself."""
        try:
            self._emit(name, "event", {"event": event, "app": name, "time": iso(time.time()), **fields})
        except Exception:
            log.exception("%s: the event %s could not be told", name, event)

    def _tell_changed(self, name: str) -> None:
        if name in self._controllers and not self._ended:  # the history may be closed by now
            self._emit(name, "changed", self.status(name))

    def _standing(self, name: str) -> object:
        controller = self._controllers.get(name)
        rollout = controller.rollout if controller is not None else None
        return None if rollout is None else (rollout.target, rollout.phase, rollout.pause, rollout.closing)

    def _on_unit_change(self, unit: str) -> None:
        for controller in self._controllers.values():
            controller.on_unit_change(unit)

    async def remove(self, name: str) -> None:
        """Stop an app and remove all that was generated for it. After an error the app is still watched, as a stopped
        one, and another call finishes the removal. Raises DeploydError."""
        controller = self._controllers.get(name)
        if controller is None and not self.deployment.installed(name):
            return
        self._removal.check(name)
        self.history.require_writable(name)
        patience = self._patience(name)
        if controller is not None:
            await controller.end("the app was removed")
        try:
            await self._removal.run(name, patience)
            self.history.forget(name)
        except BaseException as error:
            if controller is not None:
                del self._controllers[name]
                self.controller(name)
            if isinstance(error, DeploydError):
                done = f"{name} is half removed: mend that, and deployd remove {name} does the rest"
                raise type(error)(f"{error}; {done}") from error
            raise
        self._forget(name)

    def _patience(self, name: str) -> float:
        """Seconds that all instances of an app may take to stop."""
        numbers = {*self.pins.held(name).values(), self.history.current(name) or 0}
        settings = [self.history.settings(name, number) for number in numbers]
        return max((item.stop.timeout for item in settings if item is not None), default=0.0) + JOB_MARGIN

    def _forget(self, name: str) -> None:
        controller = self._controllers.pop(name, None)
        if controller is not None:
            controller.instances.forget()
        self._announcer.forget(name)
        unix_addresses.forget(name)
        self._host.kernel.forget(name)

    def steers(self, name: str) -> bool:
        """True if the app is deployed with sockets for each instance, and this machine can steer."""
        return self.deployment.steers(name)

    def current(self, name: str) -> Generation | None:
        number = self.history.current(name)
        return None if number is None else self.history.generation(name, number)

    def runs_unknown(self, name: str) -> bool:
        """True if instances serve although no generation is known: the state was lost."""
        controller = self._controllers.get(name)
        seen = controller.observe() if controller is not None and self.history.current(name) is None else ()
        return any(item.generation is None and item.state is State.READY for item in seen)

    def require_current(self, name: str) -> Generation:
        self.known(name)
        current = self.current(name)
        if current is None:
            raise Refused(f"{name} is not deployed yet; deployd apply {name} does it")
        return current

    def require_generation(self, name: str, number: int) -> Generation:
        found = self.history.generation(name, number)
        if found is None:
            raise InvalidRequest(f"{name} has no generation {number}; see deployd history {name}")
        return found

    def require_history(self, name: str) -> None:
        """Raise StateError, with the way out, unless the history of the app is usable."""
        self._refresh()
        if trouble := self.history.source.trouble(name):
            raise StateError(trouble)

    async def repair(self) -> Json:
        """Rebuild an unusable history from generations and pins, without touching instances. Raises Refused."""
        damage = await asyncio.to_thread(self.history.source.examine)
        aside, names = self.history.source.repair(damage)
        log.warning("%s was rebuilt%s", self.history.source.path, f"; the old one is {aside}" if aside else "")
        self._take_up(names)
        return status.repaired(
            self.history.source.path,
            aside,
            {
                name: (self.history.current(name), self.history.rollout(name), self.history.source.trouble(name))
                for name in sorted(names)
            },
        )

    def _refresh(self) -> None:
        """Reopen an unusable or replaced history, and have all apps continue with what it says."""
        if self._ended:
            return
        changed = self.history.source.refresh()
        self._log_trouble(changed)
        if changed:
            self._take_up(self.history.apps())

    def _take_up(self, names: Iterable[str]) -> None:
        for name in names:
            try:
                if name in self._controllers:
                    self._controllers[name].take_up()
                elif not self._ended:
                    self.controller(name)
            except Exception:
                log.exception("%s cannot be taken up; trying again, the other apps are", name)
                asyncio.get_running_loop().call_later(RETRY, self._take_up, [name])

    def _log_trouble(self, changed: bool = True) -> None:
        """Log what is wrong with the history if that `changed`, and retry a locked one soon."""
        troubles = {self.history.source.trouble(name): None for name in ("", *self.history.apps())}
        for trouble in filter(None, troubles if changed else ()):
            log.error("%s", trouble)
        if self._looking_again is not None:
            self._looking_again.cancel()
        self._looking_again = (
            asyncio.get_running_loop().call_later(LOCKED, self._refresh) if self.history.source.locked else None
        )

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


async def _at_most(seconds: float, work: list[Coroutine[Any, Any, None]]) -> None:
    """Do all of it at once, and leave what takes longer; what goes wrong is only logged."""
    tasks = [asyncio.ensure_future(item) for item in work]
    if not tasks:
        return
    done, left = await asyncio.wait(tasks, timeout=seconds)
    for task in left:
        task.cancel()
    for task in done:
        if error := task.exception():
            log.warning("%s", error, exc_info=None if isinstance(error, DeploydError) else error)
