"""A private bus and a fake daemon on it, which answers as the test prescribes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from deployd.api import APP, MANAGER, NAME, ROOT, Client, app_path
from deployd.bus import Bus, BusError, MethodCall, Reply
from deployd.errors import NoSuchApp

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={directory}/bus</listen>
  <auth>EXTERNAL</auth>
  <servicedir>{directory}</servicedir>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""

SIGNATURES = {"Apply": "t", "Rollout": "t", "Rollback": "t", "Restart": "t", "Scale": "t", "LogMatches": "as"}
NOTHING = {"Pause", "Resume", "Abort", "Remove", "Reload", "SetWeight"}


@contextlib.contextmanager
def private_bus(directory: Path) -> Iterator[str]:
    """Run a dbus-daemon in `directory`; yields its address."""
    config = directory / "bus.conf"
    config.write_text(CONFIG.format(directory=directory))
    argv = ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, "dbus-daemon did not start"
            yield address
        finally:
            process.terminate()


def instance(number: int, generation: int, state: str = "ready", **more: Any) -> dict[str, Any]:
    return {
        "instance": number,
        "unit": f"demo@{number}.service",
        "generation": generation,
        "release": f"/srv/demo/releases/{generation}",
        "state": state,
        "ready": state == "ready",
        "main_pid": 4000 + number,
        "invocation_id": f"{number:032x}",
        "since": "2026-01-02T03:04:05+00:00",
        "restarts": 0,
        "weight": None,
        **more,
    }


def status(app: str = "demo", generation: int = 7, count: int = 4, **more: Any) -> dict[str, Any]:
    return {
        "app": app,
        "generation": generation,
        "release": f"/srv/{app}/releases/{generation}",
        "desired": count,
        "ready": count,
        "routing": "shared",
        "rollout": None,
        "instances": [instance(number, generation) for number in range(1, count + 1)],
        **more,
    }


def generation_row(number: int, result: str = "succeeded", **more: Any) -> dict[str, Any]:
    return {
        "generation": number,
        "release": f"/srv/demo/releases/{number}",
        "cause": "rollout",
        "result": result,
        "reason": "",
        "started": "2026-01-02T03:04:05+00:00",
        "finished": None if result == "running" else "2026-01-02T03:04:11.200000+00:00",
        "duration": None if result == "running" else 6.2,
        "replaced": [1, 2, 3, 4],
        "adopted": [],
        **more,
    }


def failure(instance: int | None = 5, **more: Any) -> dict[str, Any]:
    """Return the failure of an instance that exited before it was ready, with journal lines."""
    return {
        "gate": "notify",
        "reason": f"instance {instance} exited with status 3 before it was ready",
        "instance": instance,
        "waited_for": "READY=1",
        "waited": 0.412,
        "exit_status": 3,
        "signal": None,
        "journal": [
            "Traceback (most recent call last):",
            '  File "app.py", line 3',
            "\x1b[31mImportError\x1b[0m: no\x07",
        ],
        **more,
    }


class FakeDaemon:
    """Answers from `answers` ((app, member) to JSON value, number or exception); records calls in `calls`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.answers: dict[tuple[str, str], Any] = {}
        self.calls: list[tuple[str, str, list[Any]]] = []
        self.interactive: list[bool] = []
        self.called: asyncio.Queue[str] = asyncio.Queue()
        self.apps = ["demo"]

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, address: str, *generations: dict[str, Any]) -> AsyncIterator[FakeDaemon]:
        """Run the daemon within the context, with `generations` as the history of demo."""
        bus = await Bus.connect(address)
        try:
            daemon = cls(bus)
            daemon.answers["demo", "Describe"] = status()
            daemon.answers["demo", "History"] = {"app": "demo", "generations": [*generations, generation_row(7)]}
            bus.serve(daemon._serve)
            await bus.request_name(NAME)
            yield daemon
        finally:
            await bus.close()

    async def _serve(self, call: MethodCall) -> Reply:
        app = next((name for name in self.apps if call.path == app_path(name)), "")
        self.calls.append((app, call.member, call.body))
        self.interactive.append(call.interactive)
        try:
            return self._answer(call, app)
        finally:
            self.called.put_nowait(call.member)

    def _answer(self, call: MethodCall, app: str) -> Reply:
        if call.interface not in (MANAGER, APP):
            raise BusError("org.freedesktop.DBus.Error.UnknownInterface", "no such interface")
        if not app and call.path != ROOT:
            raise BusError("org.freedesktop.DBus.Error.UnknownObject", "no such object")
        if call.member == "ListApps":
            return "a(so)", [[[name, app_path(name)] for name in self.apps]]
        answer = self.answers.get((app, call.member))
        if isinstance(answer, Exception):
            raise answer
        if call.member in NOTHING:
            return "", []
        if answer is None:
            raise NoSuchApp(f"there is no app named {app or '?'}")
        signature = SIGNATURES.get(call.member, "s")
        return signature, [json.dumps(answer) if signature == "s" else answer]

    def emit(self, event: str, **more: Any) -> None:
        """Send a RolloutEvent of demo, of the rollout from 7 to 8 unless `more` overrides it."""
        shown = {"event": event, "app": "demo", "time": "2026-01-02T03:04:05+00:00", "from": 7, "to": 8, **more}
        self._bus.emit(app_path("demo"), APP, "RolloutEvent", "s", [json.dumps(shown)])

    def change(self, app: str, **more: Any) -> None:
        """Send AppChanged."""
        self._bus.emit(ROOT, MANAGER, "AppChanged", "ss", [app, json.dumps(status(app, **more))])

    async def wait_for(self, member: str, *, times: int = 1) -> None:
        """Wait until `member` has been called `times` times from now on (or since the last wait)."""
        async with asyncio.timeout(20):
            while times:
                times -= await self.called.get() == member


def environment(address: str, **more: str) -> dict[str, str]:
    """Return the environment of a command that uses the bus at `address`."""
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM", "COLUMNS", "LINES")}
    return {**kept, "DBUS_SYSTEM_BUS_ADDRESS": address, **more}


def against(address: str, work: Callable[[FakeDaemon, Client], Awaitable[None]]) -> None:
    """Run `work` with a daemon and a client of it, within half a minute."""

    async def together() -> None:
        async with asyncio.timeout(30), FakeDaemon.at(address) as daemon, await Client.connect(address) as client:
            await work(daemon, client)

    asyncio.run(together())
