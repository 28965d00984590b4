"""All apps of the machine, and what can be asked of them: the requests behind the D-Bus API, without D-Bus."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deployd import __version__, config, status
from deployd.controller import Controller
from deployd.deployment import Deployment
from deployd.errors import Busy, DeploydError, InvalidFile, InvalidRequest, NoSuchApp, Refused
from deployd.history import History
from deployd.model.app import App
from deployd.model.generation import Cause, Generation, Result
from deployd.model.rollout import Phase
from deployd.pins import Pins
from deployd.plan.goal import Goal
from deployd.plan.simulation import simulate
from deployd.plan.transitions import Event
from deployd.status import Json
from deployd.systemd1 import Systemd

log = logging.getLogger(__name__)

Emit = Callable[[str, str, dict[str, Any]], None]
"""(app, signal, fields): `changed` with a status, or `event` with a line of progress."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are; the daemon's own settings."""

    apps: Path = Path("/etc/deployd/apps")
    state: Path = Path("/var/lib/deployd")
    units: Path = Path("/etc/systemd/system")
    command: str = "/usr/bin/deployd"


class Manager:
    """Every method raises a DeploydError whose text is for people."""

    def __init__(
        self, settings: Settings, systemd: Systemd, history: History, pins: Pins, deployment: Deployment, emit: Emit
    ) -> None:
        self._settings = settings
        self._systemd = systemd
        self._history = history
        self._pins = pins
        self._deployment = deployment
        self._emit = emit
        self._controllers: dict[str, Controller] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def start(self) -> None:
        """Take up every app that has a history."""
        self._systemd.on_change(self._on_unit_change)
        for name in self._history.apps():
            self._controller(name)
        self.reload()

    async def stop(self) -> None:
        for controller in self._controllers.values():
            await controller.stop()

    def reload(self) -> None:
        """Read the app files again: say which are invalid. What runs is not touched."""
        for item in self.check("")["apps"]:
            if not item["valid"]:
                log.warning("%s", item["error"])
        log.info("read %d app files in %s", len(self._files()), self._settings.apps)

    # What is.

    def headline(self) -> str:
        """One line for `systemctl status deployd`."""
        rollouts = [item.rollout for item in self._controllers.values() if item.rollout is not None]
        under_way = ", ".join(f"{item.app} to generation {item.target} ({item.phase})" for item in rollouts)
        apps = f"{len(self._controllers)} app{'' if len(self._controllers) == 1 else 's'}"
        return f"{apps}; rolling out {under_way}" if under_way else f"{apps}; no rollout under way"

    def names(self) -> list[str]:
        return sorted({*self._files(), *self._controllers})

    def describe(self) -> Json:
        return {"apps": [self.status(name) for name in self.names()], "version": __version__}

    def check(self, name: str) -> Json:
        """Validate one app file, or all for ""."""
        if name and name not in self._files():
            raise self._unknown(name)
        results = []
        for app in [name] if name else self._files():
            error = None
            try:
                settings = self._load(app)
                config.resolve_release(settings)
            except DeploydError as problem:
                error = str(problem)
            results.append({"app": app, "file": str(self._file(app)), "valid": error is None, "error": error})
        return {"apps": results}

    def status(self, name: str) -> Json:
        controller = self._known(name)
        generations = self._history.generations(name)
        current = self._history.current(name)
        rollout = controller.rollout if controller else None
        shown = current if current is not None else (rollout.target if rollout else None)
        generation = next((item for item in generations if item.number == shown), None)
        wanted = rollout.goal if rollout is not None else shown
        desired = next((item.settings.instances for item in generations if item.number == wanted), 0)
        return status.status(
            name,
            generation,
            rollout,
            controller.observe() if controller else (),
            {item.number: item.release for item in generations},
            desired,
            time.time() - time.monotonic(),
        )

    def history(self, name: str) -> Json:
        self._known(name)
        return status.history(name, self._history.generations(name), self._history.current(name))

    def units(self, name: str) -> Json:
        self._known(name)
        app = self._load(name)
        installed = self._deployment.installed(name)
        units = self._deployment.render(app, self._highest(app))
        return {
            "app": name,
            "units": [
                {
                    "name": unit.name,
                    "path": self._deployment.path(unit.name),
                    "text": unit.text,
                    "installed": installed.get(unit.name),
                }
                for unit in units
            ],
        }

    def plan(self, name: str, release: str | None = None) -> Json:
        """Every action a rollout of the app file (or of `release`) would take."""
        controller = self._known(name)
        app = self._load(name)
        real = config.resolve_release(app, release)
        fingerprint = app.fingerprint(real)
        number = self._history.next_number(name)
        same = frozenset(item.number for item in self._history.generations(name) if item.fingerprint == fingerprint)
        instances = controller.observe() if controller else ()
        outcome = simulate(Goal.of(app, number, same=same), instances, now=time.monotonic())
        return status.dry_run(name, self._history.current(name), number, real, outcome)

    def log_matches(self, name: str, generation: int) -> list[str]:
        """journalctl(1) matches: of one generation's invocations, or of the app's units."""
        self._known(name)
        if not generation:
            return [f"--unit={name}@*.service", f"--unit={name}.service", f"--unit={name}.socket"]
        if self._history.generation(name, generation) is None:
            raise InvalidRequest(f"{name} has no generation {generation}; see deployd history {name}")
        found = self._history.invocations(name, generation)
        if not found:
            raise Refused(f"no instance of generation {generation} of {name} was ever seen running")
        return [f"_SYSTEMD_INVOCATION_ID={item}" for item in found]

    # What changes.

    async def apply(self, name: str, start: bool = True) -> int:
        """First deploy, or a rollout of changed settings; 0 when there is nothing to do."""
        async with self._lock(name):
            self._refuse_if_busy(name)
            app = self._load(name)
            release = config.resolve_release(app)
            current = self._current(name)
            if current is not None and current.fingerprint == app.fingerprint(release) and current.settings == app:
                await self._deployment.install(app, self._highest(app))
                return 0
            if not start and current is not None:
                raise Refused(f"{name} is deployed already: --no-start is for the first time")
            if not start:
                return await self._install_only(app, release)
            return await self._begin(app, release, Cause.APPLY)

    async def rollout(self, name: str, release: str | None = None, cause: Cause = Cause.ROLLOUT) -> int:
        """A new generation of what the app file and `release` say now."""
        async with self._lock(name):
            self._refuse_if_busy(name)
            app = self._load(name)
            real = await asyncio.get_running_loop().run_in_executor(None, config.resolve_release, app, release)
            return await self._begin(app, real, cause)

    async def rollback(self, name: str, to: int = 0) -> int:
        """Release and settings of an earlier generation again."""
        async with self._lock(name):
            self._refuse_if_busy(name)
            goal = self._rollback_goal(name, to)
            release = config.resolve_release(goal.settings, goal.release)
            return await self._begin(goal.settings, release, Cause.ROLLBACK, goal.fingerprint)

    async def restart(self, name: str) -> int:
        """The same again, in new processes."""
        async with self._lock(name):
            self._refuse_if_busy(name)
            current = self._require_current(name)
            # A fingerprint that nothing running has: everything is replaced.
            salted = hashlib.sha256(f"{current.fingerprint} {self._history.next_number(name)}".encode()).hexdigest()[
                :32
            ]
            release = config.resolve_release(current.settings, current.release)
            return await self._begin(current.settings, release, Cause.RESTART, salted)

    async def scale(self, name: str, instances: int) -> int:
        """Another number of instances; those that run are adopted."""
        if not 1 <= instances <= 1000:
            raise InvalidRequest(f"{instances} instances: allowed are 1 to 1000")
        async with self._lock(name):
            self._refuse_if_busy(name)
            current = self._require_current(name)
            app = replace(current.settings, instances=instances)
            return await self._begin(app, current.release, Cause.SCALE, current.fingerprint)

    def pause(self, name: str) -> None:
        self._send(name, Event.PAUSE, "paused by request; deployd resume goes on, deployd abort goes back")

    def resume(self, name: str) -> None:
        self._send(name, Event.RESUME)

    def abort(self, name: str) -> None:
        self._send(name, Event.ABORT, "aborted by request")

    async def remove(self, name: str) -> None:
        """Stop the app and take away all that was generated for it."""
        async with self._lock(name):
            controller = self._known(name)
            if controller is not None:
                await controller.stop()
            await self._deployment.remove(name)
            self._history.forget(name)
            if controller is not None:
                controller.instances.forget()
                del self._controllers[name]

    # Inside.

    async def _begin(self, app: App, release: str, cause: Cause, fingerprint: str | None = None) -> int:
        name = app.name
        number = self._history.next_number(name)
        controller = self._controller(name)
        await controller.ready()
        await self._deployment.prepare(app, self._highest(app), number, release)
        origin = self._history.current(name)
        generation = Generation(
            app=name,
            number=number,
            release=release,
            settings=app,
            fingerprint=fingerprint or app.fingerprint(release),
            cause=cause,
            result=Result.RUNNING,
            reason="",
            started=time.time(),
        )
        controller.begin(generation, origin)
        return number

    async def _install_only(self, app: App, release: str) -> int:
        """The first connection starts it: pins for all, but no process yet."""
        number = self._history.next_number(app.name)
        await self._deployment.prepare(app, self._highest(app), number, release)
        for instance in range(1, app.instances + 1):
            self._pins.pin(app.name, instance, number)
        await self._deployment.install(app, self._highest(app))
        now = time.time()
        generation = Generation(
            app=app.name,
            number=number,
            release=release,
            settings=app,
            fingerprint=app.fingerprint(release),
            cause=Cause.APPLY,
            result=Result.SUCCEEDED,
            reason="installed; the first connection starts it",
            started=now,
            finished=now,
        )
        self._history.deployed(generation)
        self._controller(app.name)
        self._tell(
            app.name,
            "finished",
            {
                "result": str(generation.result),
                "reason": generation.reason,
                "generation": number,
                "from": None,
                "to": number,
                "replaced": [],
                "adopted": [],
                "duration": 0.0,
            },
        )
        return number

    def _rollback_goal(self, name: str, to: int) -> Generation:
        current = self._require_current(name)
        generations = self._history.generations(name)
        if to:
            goal = next((item for item in generations if item.number == to), None)
            if goal is None:
                raise InvalidRequest(f"{name} has no generation {to}; see deployd history {name}")
            return goal
        for item in generations:
            good = item.number < current.number and item.result is Result.SUCCEEDED
            if good and item.fingerprint != current.fingerprint:
                return item
        raise Refused(f"{name} has no good generation before {current.number} to go back to")

    def _send(self, name: str, event: Event, reason: str = "") -> None:
        controller = self._known(name)
        if controller is None or controller.rollout is None:
            raise Refused(f"no rollout of {name} is under way")
        if not controller.send(event, reason):
            raise Refused(f"the rollout of {name} is {controller.rollout.phase}: it cannot {event} now")

    def _refuse_if_busy(self, name: str) -> None:
        controller = self._known(name)
        rollout = controller.rollout if controller else None
        if rollout is not None:
            hint = f"deployd resume {name} goes on, deployd abort {name} goes back"
            if rollout.phase is not Phase.PAUSED:
                hint = f"wait for it, or deployd abort {name}"
            raise Busy(f"a rollout of {name} to generation {rollout.target} is {rollout.phase}; {hint}")

    def _known(self, name: str) -> Controller | None:
        """The controller of an app that has a history, None for one with a file only. Raises NoSuchApp."""
        controller = self._controllers.get(name)
        if controller is None and name not in self._files():
            raise self._unknown(name)
        return controller

    def _unknown(self, name: str) -> NoSuchApp:
        return NoSuchApp(f"there is no app {name}: no {self._settings.apps}/{name}.toml and no history of it")

    def _controller(self, name: str) -> Controller:
        controller = self._controllers.get(name)
        if controller is None:
            controller = Controller(
                name,
                self._systemd,
                self._history,
                self._pins,
                self._deployment,
                tell=lambda event, fields: self._tell(name, event, fields),
                changed=lambda: self._changed(name),
            )
            self._controllers[name] = controller
            controller.start()
        return controller

    def _tell(self, name: str, event: str, fields: dict[str, Any]) -> None:
        self._emit(name, "event", {"event": event, "app": name, "time": status.iso(time.time()), **fields})

    def _changed(self, name: str) -> None:
        if name in self._controllers:
            self._emit(name, "changed", self.status(name))

    def _on_unit_change(self, unit: str) -> None:
        for controller in self._controllers.values():
            controller.on_unit_change(unit)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    def _current(self, name: str) -> Generation | None:
        number = self._history.current(name)
        return None if number is None else self._history.generation(name, number)

    def _require_current(self, name: str) -> Generation:
        self._known(name)
        current = self._current(name)
        if current is None:
            raise Refused(f"{name} is not deployed yet; deployd apply {name} does it")
        return current

    def _highest(self, app: App) -> int:
        """The highest instance number that the umbrella must be able to start."""
        return max(Goal.of(app, 1).ceiling, max(self._pins.read(app.name), default=0))

    def _file(self, name: str) -> Path:
        return self._settings.apps / f"{name}.toml"

    def _files(self) -> list[str]:
        try:
            return sorted(path.stem for path in self._settings.apps.glob("*.toml"))
        except OSError:
            return []

    def _load(self, name: str) -> App:
        path = self._file(name)
        if not path.exists():
            raise InvalidFile(f"{path} is missing, but {name} has a history; put it back, or deployd remove {name}")
        return config.load(path)
