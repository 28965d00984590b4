"""`deployd daemon`: connects the parts and runs until a signal arrives or the bus is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from functools import partial
from typing import Any

from deployd import config
from deployd.assembly import Assembly
from deployd.bus import Bus, BusError
from deployd.daemon_settings import DaemonSettings
from deployd.errors import DeploydError, ExitStatus
from deployd.files.workers import Workers
from deployd.instances.commands import Commands
from deployd.model import advice
from deployd.model.app import App
from deployd.model.event import EventName
from deployd.model.scope import SYSTEM, Scope
from deployd.reuseport import support
from deployd.rollout.factory import ControllerFactory
from deployd.rollout.hook_runner import HookRunner
from deployd.rollout.hooks import Hooks
from deployd.rollout.teardown import Teardown
from deployd.routing.kernel import Kernel
from deployd.service.authority import NoConsent
from deployd.service.polkit import Polkit
from deployd.service.signals import Signals
from deployd.state.disk import Disk, reported
from deployd.state.history import History
from deployd.state.host_drains import HostDrains
from deployd.state.pins import Pins
from deployd.state.spool import Spool
from deployd.systemd import journal
from deployd.systemd.daemon_reload import DaemonReload
from deployd.systemd.event_log import EventLog
from deployd.systemd.execution import Execution
from deployd.systemd.manager import Systemd
from deployd.systemd.notify import Notifier
from deployd.systemd.tail import Tail
from deployd.systemd.transient import Transient
from deployd.units.deployment import Deployment
from deployd.units.directory import UnitDirectory

log = logging.getLogger("deployd")

MOST_READERS = 32
"""Threads that may read the journal at a time; one app uses only a few."""

IN_STATUS_LINE = frozenset({EventName.STARTED, EventName.FINISHED, EventName.PAUSED, EventName.ROLLING_BACK})
"""Events that change the line which `systemctl status deployd` shows."""


NOT_FOR_USERS = "deployd runs in user mode, and only root can attach the BPF program"
"""Why apps are not steered in user mode."""


def run(scope: Scope = SYSTEM) -> int:
    """Run the daemon of a scope until it ends; return its exit status.

    That of invalid settings is in RestartPreventExitStatus= of deployd.service: another start would say the same.
    """
    journal.configure(scope.journal)
    advice.use(scope)
    try:
        settings = DaemonSettings.from_environment(scope)
    except DeploydError as error:
        log.error("%s", error)
        return error.exit_status
    try:
        return asyncio.run(Daemon(settings).run())
    except DeploydError as error:
        log.error("%s", error)
        return ExitStatus.FAILED


class Daemon:
    """The daemon process: one bus connection, one history, all apps."""

    def __init__(self, settings: DaemonSettings) -> None:
        self._settings = settings
        self._scope = settings.scope
        self._notifier = Notifier()
        self._event_log = EventLog(self._scope.journal)
        self._signals: Signals | None = None
        self._apps: Assembly | None = None
        self._reloading: asyncio.Future[None] | None = None

    async def run(self) -> int:
        """Run until the end; return 0 after SIGTERM or SIGINT, 1 if the bus is lost (systemd restarts deployd then).

        Raises DeploydError.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[int] = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _end, ended)
        if self._scope.is_user:
            _make_directories(self._scope)
        bus = await Bus.connect(self._scope.bus)
        pins = Pins(self._settings.state)
        history = History(self._settings.state, pins, self._settings_now)
        history.open()
        systemd = Systemd(bus)
        await systemd.subscribe()
        obstacle = NOT_FOR_USERS if self._scope.is_user else support.probe()
        kernel = Kernel(obstacle, self._notifier.keep, self._notifier.forget, self._notifier.kept())
        deployment, teardown = self._units(systemd, history, pins, kernel, steerable=kernel.steers)
        signals = self._signals = Signals(bus)
        manager = await systemd.pid()
        apps = self._apps = self._assemble(bus, systemd, kernel, history, pins, deployment, teardown, manager)
        service = apps.service(bus, NoConsent() if self._scope.is_user else Polkit(bus), signals)
        await apps.start()
        self._reload(apps)  # takes its time if there are many files, or slow ones
        # Keeps those of existing apps, whose control loops have just begun and claim them later.
        names = {*apps.registry.names(), *(item.name for item in apps.registry)}  # process types have their own
        kernel.drop_inherited(deployment.steered(names))
        loop.add_signal_handler(signal.SIGHUP, self._reload, apps)
        try:
            await service.start()
        except BusError as error:
            log.error("the bus name org.deployd1 cannot be acquired: %s", error.message)
            return 1
        try:
            return await self._wait(bus, ended)
        finally:
            if self._reloading is not None:
                self._reloading.cancel()
            await apps.stop()
            await bus.close()
            history.close()

    def _units(
        self, systemd: Systemd, history: History, pins: Pins, kernel: Kernel, *, steerable: bool
    ) -> tuple[Deployment, Teardown]:
        """Return what installs the units of apps and what removes them; remove what a killed daemon left."""
        scope = self._scope
        units = UnitDirectory(
            scope.units,
            others=scope.other_units,
            control=scope.control,
            user=scope.is_user,
            scratch=scope.runtime / "verify",
        )
        units.sweep()
        reload = DaemonReload(systemd.reload)
        deployment = Deployment(
            systemd,
            units,
            reload,
            pins,
            history.settings,
            self._settings.state,
            self._settings.command,
            steerable=steerable,
            scope=scope,
        )
        deployment.sweep()
        return deployment, Teardown(systemd, units, reload, pins, kernel)

    def _assemble(
        self,
        bus: Bus,
        systemd: Systemd,
        kernel: Kernel,
        history: History,
        pins: Pins,
        deployment: Deployment,
        teardown: Teardown,
        manager: int,
    ) -> Assembly:
        """Connect the parts of the apps."""
        scope = self._scope
        tail = Tail(run=partial(Workers(places=MOST_READERS).run, "the journal"), names=scope.journal)
        transient, execution = Transient(systemd), Execution(bus, scope.runtime_units)
        execution.sweep()
        commands, workers = Commands(execution, pins, scope), Workers()
        runner = HookRunner(transient, tail, commands)
        hooks = Hooks(transient, runner)
        controllers = ControllerFactory(
            systemd,
            history,
            pins,
            deployment,
            kernel,
            teardown,
            tail,
            hooks,
            runner,
            # Not in the state directory: a rollout that pauses because the disk is full has to be reported.
            Spool(scope.runtime / "notifications"),
            transient,
            commands,
            workers,
            generations=self._settings.generations,
            patience=self._settings.patience,
            command=self._settings.command,
            scope=scope,
            manager=manager,
        )
        return Assembly(
            scope,
            controllers,
            teardown,
            self._emit,
            systemd=systemd,
            history=history,
            pins=pins,
            drains=HostDrains(self._settings.state),
            rollout_drain=self._settings.rollout_drain,
            deployment=deployment,
            hooks=hooks,
            transient=transient,
            commands=commands,
            workers=workers,
        )

    async def _wait(self, bus: Bus, ended: asyncio.Future[int]) -> int:
        """Report readiness to systemd, then wait for the end; return the exit status."""
        self._notifier.ready()
        self._update_status()
        watchdog = asyncio.ensure_future(self._notifier.watchdog())
        try:
            waiting: set[asyncio.Future[Any]] = {ended, bus.disconnected}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                log.error("the connection to the bus was lost; systemd restarts deployd")
                return 1
            self._notifier.stopping()
            return 0
        finally:
            watchdog.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watchdog

    def _settings_now(self, app: str) -> App | None:
        """Return the settings in the app file; None if there is no valid one."""
        try:
            return config.load(self._scope.apps / f"{app}.toml")
        except DeploydError:
            return None

    def _reload(self, apps: Assembly) -> None:
        self._reloading = asyncio.ensure_future(apps.reloading.reload())
        self._reloading.add_done_callback(lambda _: self._update_status())

    def _emit(self, app: str, kind: str, fields: dict[str, Any]) -> None:
        if kind == "event":
            self._event_log.write(app, fields)
        if self._signals is not None:
            self._signals.emit(app, kind, fields)
        if kind == "changed" or fields.get("event") in IN_STATUS_LINE:
            self._update_status()

    def _update_status(self) -> None:
        if self._apps is not None:
            self._notifier.status(self._apps.statuses.headline())


def _make_directories(scope: Scope) -> None:
    """Make the directories of a user, which nothing else makes. Raises StateError."""
    for directory in (scope.apps, scope.state, scope.units, scope.runtime):
        with reported(f"make {directory}"):
            Disk().directories(directory, 0o700)


def _end(ended: asyncio.Future[int]) -> None:
    if not ended.done():
        ended.set_result(0)


if __name__ == "__main__":
    sys.exit(run())
