"""`deployd daemon`: connects the parts and runs until a signal arrives or the bus is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from deployd import config
from deployd.apps.registry import DaemonSettings, Registry
from deployd.apps.removal import Removal
from deployd.bus import Bus, BusError
from deployd.errors import DeploydError, InvalidRequest
from deployd.files.workers import Workers
from deployd.instances.commands import Commands
from deployd.model.app import App
from deployd.model.event import EventName
from deployd.plan.backoff import Patience
from deployd.reuseport import support
from deployd.rollout.hooks import Hooks
from deployd.rollout.host import Host
from deployd.routing.kernel import Kernel
from deployd.service.interface import Service
from deployd.service.polkit import Polkit
from deployd.state.history import History
from deployd.state.pins import Pins
from deployd.systemd import journal
from deployd.systemd.daemon_reload import DaemonReload
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


def run() -> int:
    """Run the daemon until it ends; return its exit status."""
    journal.configure()
    try:
        return asyncio.run(Daemon(_settings()).run())
    except DeploydError as error:
        log.error("%s", error)
        return 1


def _settings() -> DaemonSettings:
    """Read the settings from the environment. Raises InvalidRequest."""
    # systemd sets STATE_DIRECTORY; the default is the same directory.
    state = Path(os.environ.get("STATE_DIRECTORY", "/var/lib/deployd"))
    return DaemonSettings(
        state=state,
        patience=Patience(steady=float(_number("DEPLOYD_STEADY", Patience().steady, "a number of seconds", 999999))),
        generations=int(_number("DEPLOYD_GENERATIONS", DaemonSettings().generations, "a number", 9999)),
    )


def _number(name: str, default: float, what: str, most: int) -> float:
    """Read a positive integer of at most `most` from the environment. Raises InvalidRequest."""
    text = os.environ.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text) or int(text) > most:
        raise InvalidRequest(f"{name} is {text!r}: it must be {what} from 1 to {most}, for example {default:g}")
    return float(text)


class Daemon:
    """The daemon process: one bus connection, one history, all apps."""

    def __init__(self, settings: DaemonSettings) -> None:
        self._settings = settings
        self._notifier = Notifier()
        self._service: Service | None = None
        self._apps: Registry | None = None
        self._reloading: asyncio.Future[None] | None = None

    async def run(self) -> int:
        """Run until the end; return 0 after SIGTERM or SIGINT, 1 if the bus is lost (systemd restarts deployd then).

        Raises DeploydError.
        """
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[int] = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _end, ended)
        bus = await Bus.connect()
        pins = Pins(self._settings.state)
        history = History(self._settings.state, pins, self._settings_now)
        history.open()
        systemd = Systemd(bus)
        await systemd.subscribe()
        units = UnitDirectory(self._settings.units, scratch=self._settings.scratch)
        units.sweep()
        kernel = Kernel(support.probe(), self._notifier.keep, self._notifier.forget, self._notifier.kept())
        reload = DaemonReload(systemd.reload)
        deployment = Deployment(
            systemd,
            units,
            reload,
            pins,
            history.settings,
            self._settings.state,
            self._settings.command,
            steerable=kernel.steers,
        )
        tail = Tail(run=partial(Workers(places=MOST_READERS).run, "the journal"))
        transient = Transient(systemd)
        execution = Execution(bus)
        execution.sweep()
        commands = Commands(execution, pins)
        hooks = Hooks(transient, tail, commands)
        removal = Removal(systemd, units, reload, pins)
        host = Host(
            systemd,
            history,
            pins,
            deployment,
            tail.last,
            hooks,
            transient,
            commands,
            kernel,
            generations=self._settings.generations,
            patience=self._settings.patience,
        )
        apps = Registry(self._settings, host, removal, self._emit)
        self._apps = apps
        self._service = Service(bus, apps, Polkit(bus))
        await apps.start()
        # Keeps those of existing apps, whose control loops have just begun and claim them later.
        kernel.drop_inherited(deployment.steered(apps.names()))
        loop.add_signal_handler(signal.SIGHUP, self._reload, apps)
        try:
            await self._service.start()
        except BusError as error:
            log.error("the bus name org.deployd1 cannot be acquired: %s", error.message)
            return 1
        self._notifier.ready()
        self._update_status()
        watchdog = asyncio.ensure_future(self._notifier.watchdog())
        try:
            waiting: set[asyncio.Future[Any]] = {ended, bus.disconnected}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                log.error("the connection to the system bus was lost; systemd restarts deployd")
                return 1
            self._notifier.stopping()
            return 0
        finally:
            watchdog.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watchdog
            await apps.stop()
            await bus.close()
            history.close()

    def _settings_now(self, app: str) -> App | None:
        """Return the settings in the app file; None if there is no valid one."""
        try:
            return config.load(self._settings.apps / f"{app}.toml")
        except DeploydError:
            return None

    def _reload(self, apps: Registry) -> None:
        self._reloading = asyncio.ensure_future(apps.reload())
        self._reloading.add_done_callback(lambda _: self._update_status())

    def _emit(self, app: str, kind: str, fields: dict[str, Any]) -> None:
        if kind == "event":
            event = fields["event"]
            log.log(
                journal.level(event, fields),
                "%s",
                journal.sentence(app, event, fields),
                extra=journal.fields(app, event, fields),
            )
        if self._service is not None:
            self._service.emit(app, kind, fields)
        if kind == "changed" or fields.get("event") in IN_STATUS_LINE:
            self._update_status()

    def _update_status(self) -> None:
        if self._apps is not None:
            self._notifier.status(self._apps.headline())


def _end(ended: asyncio.Future[int]) -> None:
    if not ended.done():
        ended.set_result(0)


if __name__ == "__main__":
    sys.exit(run())
