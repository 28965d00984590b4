"""One host with the daemon under test: the app `demo` under load, and the driver's ways to look and to act.

Commands go over the bus from this process, by the client that the command uses: a Python of its own for each would cost
more than the rollout.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployd.api import Client
from tests.host.machine import Machine
from tests.host.root import IN_HOST
from tests.host.stage import APP, PORT, Stage
from tests.load.client import Load, LoadError
from tests.torture.company import Company
from tests.torture.daemon import SOCKET
from tests.torture.line import AWAY, Line

STATE = "/var/lib/deployd"
UNITS = "/etc/systemd/system"
DAEMON = "deployd.service"
SMALL = "64m"
"""Of the file system for the state: room for the histories of a thousand rollouts, and soon filled."""

DEADLINE = 45.0
"""Seconds for anything to come to its end, on a busy machine."""
RATE, KEEPALIVE = 100.0, 4

DROP_IN = f"""\
[Service]
ExecStart=
ExecStart=/usr/local/bin/deployd-python -m tests.torture.daemon
WorkingDirectory={IN_HOST}
RestartSec=50ms
"""

Json = dict[str, Any]


class Stuck(AssertionError):
    """What should have happened did not, within its deadline."""


@dataclass(slots=True)
class Site:
    """Make it with `open`."""

    machine: Machine
    stage: Stage
    line: Line
    company: Company
    """Who disturbs it, from `campaign` on."""
    held: int = 0
    """Connections of processes that were killed."""
    requests: int = 0
    failed: int = 0
    """What ended loads counted; `traffic` adds the one that runs."""
    routing: str = "shared"
    """How the app takes connections."""
    keepalive: int = KEEPALIVE
    left: set[tuple[str, int]] = field(default_factory=set)
    """Left over by the case before."""
    small: bool = False
    """Is the state on a file system of its own, which a reboot loses?"""
    _load: Load | None = None
    _settings: dict[str, object] = field(default_factory=dict)
    _cursor: str = ""

    @classmethod
    async def open(cls, machine: Machine, routing: str = "shared", **settings: object) -> Site:
        """Generation 1 of `demo`, under load, with the daemon under test."""
        site = cls(machine, Stage(machine), Line(), Company(machine), routing=routing, _settings=settings)
        machine.write(f"{UNITS}/{DAEMON}.d/torture.conf", DROP_IN)
        await site.line.open(site.host_path(SOCKET))
        await site.run("systemctl", "daemon-reload")
        await site.run("systemctl", "restart", DAEMON)
        await site._apply()
        return site

    async def _apply(self) -> None:
        routing = None if self.routing == "shared" else self.routing
        defaults = {"listen": [f"127.0.0.1:{PORT}"], "rollout": None, "gate": None, "service": None} | self._settings
        self.stage.configure(release=self.stage.release("first"), routing=routing, **defaults)
        async with await self.client() as client:
            await client.apply(APP)
        await self.until_idle()
        await self.start_load()

    async def put_on(self, routing: str, keepalive: int) -> None:
        """An app that is deployed keeps its routing: for another one it is removed, and deployed anew."""
        if routing != self.routing:
            await self.stop_load()
            async with await self.client() as client:
                await client.remove(APP)
            self.routing, self.keepalive, self.left = routing, keepalive, set()
            await self._apply()
        elif keepalive != self.keepalive:
            await self.stop_load()
            self.keepalive = keepalive
            await self.start_load()

    async def close(self) -> None:
        await self.company.stop()
        await self.stop_load()
        await self.line.close()
        self.stage.close()

    # ---- ways in

    async def run(self, *argv: str, check: bool = True) -> str:
        """A command in the host; its standard output."""
        done = await asyncio.to_thread(self.machine.run, argv, check=check, timeout=DEADLINE)
        return done.stdout

    async def in_daemon(self, *argv: str, check: bool = True) -> None:
        """A command in the mount namespace of the daemon."""
        pid = (await self.show(DAEMON, "MainPID"))["MainPID"]
        await self.run("nsenter", f"--target={pid}", "--mount", "--", *argv, check=check)

    async def show(self, unit: str, *properties: str) -> dict[str, str]:
        return await asyncio.to_thread(self.stage.show, unit, *properties)

    def host_path(self, path: str) -> Path:
        return self.machine.path(path)

    async def client(self) -> Client:
        return await Client.connect(self.machine.bus_address)

    # ---- what deployd says

    async def until(self, holds: Callable[[Json], bool], what: str, deadline: float = DEADLINE) -> Json:
        """The status that `holds`; looked at whenever deployd says that it changed, across its deaths and the bus's."""
        last: Json = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                while True:
                    try:
                        async with await self.client() as client:
                            async for status in client.changes(APP):
                                last = status
                                if holds(status):
                                    return status
                    except AWAY:
                        await asyncio.sleep(0.1)  # that a bus comes back is announced nowhere
        raise Stuck(f"{what}: not within {deadline:g} s; status was {json.dumps(last)}")

    async def until_idle(self, but: int | None = None) -> Json:
        """No rollout is under way; all instances wanted are ready, in one generation; only `but` may be down."""
        what = "all instances ready in one generation and no rollout under way"
        return await self.until(lambda status: is_whole(status, but), what)

    async def history(self) -> list[Json]:
        """Newest first."""
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    async with await self.client() as client:
                        rows: list[Json] = (await client.history(APP))["generations"]
                        return rows
                except AWAY:
                    await asyncio.sleep(0.1)

    # ---- what is there

    def pins(self) -> dict[int, int]:
        """Instance to generation."""
        directory = self.host_path(f"{STATE}/apps/{APP}/pins")
        return {int(pin.name): int(pin.readlink().name) for pin in directory.iterdir() if pin.name.isdigit()}

    async def alive(self) -> dict[int, int]:
        """Instances that have a process, each with its generation."""
        pins = self.pins()
        units = {number: f"{APP}@{number}.service" for number in pins}
        if not units:
            return {}
        text = await self.run("systemctl", "show", "--property=Id,MainPID", *units.values())
        found = dict(map(_unit_and_pid, text.split("\n\n")))
        return {number: pins[number] for number, unit in units.items() if found.get(unit)}

    def records(self) -> dict[int, int]:
        """Instances that stand by, each with its generation. Of a pinned instance no record counts."""
        directory, pins = self.host_path(f"{STATE}/apps/{APP}/standby"), self.pins()
        found = directory.iterdir() if directory.is_dir() else ()
        numbers = [path for path in found if path.name.isdigit() and int(path.name) not in pins]
        return {int(path.name): int(path.read_text().split()[0]) for path in numbers}

    async def sockets(self) -> set[int]:
        """Instances whose own socket unit is open."""
        argv = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active", f"{APP}@*.socket"]
        names = [line.split()[0] for line in (await self.run(*argv)).splitlines()]
        return {int(name.removeprefix(f"{APP}@").removesuffix(".socket")) for name in names}

    async def processes(self) -> dict[int, int]:
        """Instance to its main process, of all that have one, with a pin or without."""
        text = await self.run("systemctl", "show", "--property=Id,MainPID", f"{APP}@*.service")
        found = dict(map(_unit_and_pid, filter(None, text.split("\n\n"))))
        return {int(unit.removeprefix(f"{APP}@").removesuffix(".service")): pid for unit, pid in found.items() if pid}

    def state_of(self, pid: int) -> str:
        """Of a process, as proc(5) has it: T is stopped. Raises OSError when it is gone."""
        return self.host_path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]

    def left_overs(self) -> set[tuple[str, int]]:
        """What a killed daemon may leave and the next rollout has to clear away: half-written files, units of single
        instances but for those that stand by. Path and inode."""
        places = (UNITS, f"{STATE}/apps/{APP}/pins", f"{STATE}/apps/{APP}/generations", f"{STATE}/apps", STATE)
        found = [path for place in places for path in self.host_path(place).glob(".*")]
        needed = {f"{APP}@{number}.service" for number in self.records()}
        found += (path for path in self.host_path(UNITS).glob(f"{APP}@[0-9]*.service") if path.name not in needed)
        found += self.host_path("/run/deployd/verify").glob("*")
        root = self.host_path("/")
        return {(f"/{path.relative_to(root)}", path.lstat().st_ino) for path in found}

    def generations(self) -> set[int]:
        """Those that have files."""
        directory = self.host_path(f"{STATE}/apps/{APP}/generations")
        return {int(path.name) for path in directory.iterdir() if path.name.isdigit()}

    async def socket(self) -> dict[str, str]:
        """Equal as long as the socket has not been closed."""
        return await self.show(f"{APP}.socket", "ActiveState", "InvocationID", "ActiveEnterTimestampMonotonic")

    async def said(self) -> str:
        """The daemon's journal since this was last asked."""
        argv = ["journalctl", "--output=short-precise", "--show-cursor", "--no-pager", f"--unit={DAEMON}"]
        await self.run("journalctl", "--sync")
        text = await self.run(*argv, *([f"--after-cursor={self._cursor}"] if self._cursor else []))
        body, _, cursor = text.rpartition("-- cursor: ")
        self._cursor = cursor.strip() or self._cursor
        return body

    async def tell_tasks(self) -> None:
        """Have the daemon write to the journal where it stands."""
        await self.run("systemctl", "kill", "--signal=USR1", "--kill-whom=main", DAEMON, check=False)

    async def units(self) -> str:
        """What systemd says of the app's units."""
        names = (f"{APP}@*.service", f"{APP}@*.socket", f"{APP}.service", f"{APP}.socket")
        properties = "--property=Id,LoadState,ActiveState,SubState,Result,NRestarts,Job"
        return await self.run("systemctl", "show", "--all", properties, *names, check=False)

    # ---- load

    async def start_load(self) -> None:
        self._load = await asyncio.to_thread(self.stage.load, RATE, self.keepalive)

    async def stop_load(self) -> None:
        """Await what is under way, and count."""
        if self._load is not None:
            load, self._load = self._load, None
            record = await asyncio.to_thread(load.stop)
            self.requests += len(record)
            self.failed += len(record.failed)

    async def traffic(self) -> tuple[int, int]:
        """Requests and failures so far."""
        if self._load is None:
            return self.requests, self.failed
        try:
            progress = await asyncio.to_thread(self._load.progress)
        except LoadError as error:
            raise Stuck(str(error)) from error
        return self.requests + progress["requests"], self.failed + progress["failed"]

    # ---- the machine

    async def kill(self, instance: int) -> None:
        """SIGKILL an instance; what it held is counted."""
        self.held += await asyncio.to_thread(self.stage.kill, instance)

    async def reboot(self, clean: bool) -> None:
        """Power off and on. There is no load meanwhile; afterwards there is."""
        await self.stop_load()
        await self.company.stop()
        if clean:
            await self.line.answer(do="go")  # it is not to stand still while it is asked to stop
        self.line.disarm()  # nor its successor, where nobody would answer it
        await asyncio.to_thread(self.machine.reboot, clean)
        self._cursor = ""
        await self.line.open(self.host_path(SOCKET))
        await self.company.start()
        await self.start_load()

    async def put_on_small_disk(self, small: bool) -> None:
        """Move the state to a file system that can be filled, or back to the host's own, which outlives a reboot."""
        if small == self.small:
            return
        await self.company.stop()  # what the neighbour asks for would start the daemon again
        await self.run("systemctl", "stop", DAEMON)
        mount = f"mount -t tmpfs -o size={SMALL},mode=755 small {STATE}" if small else f"umount {STATE}"
        move = f"rm -rf /run/moved && cp -a {STATE} /run/moved && {mount} && find {STATE} -mindepth 1 -delete"
        await self.run("sh", "-c", f"{move} && cp -a /run/moved/. {STATE}/ && rm -rf /run/moved")
        await self.run("systemctl", "start", DAEMON)
        await self.company.start()
        self.small = small


def is_whole(status: Json, but: int | None = None) -> bool:
    """Whether nothing is under way and all that is wanted is there, of one generation; `but` may be down."""
    instances = [item for item in status["instances"] if item["state"] != "standby"]
    excused = [item for item in instances if item["instance"] == but and not item["ready"]]
    return (
        status["rollout"] is None
        and status["ready"] + len(excused) == status["desired"] == len(instances) > 0
        and {item["generation"] for item in instances} == {status["generation"]}
    )


def _unit_and_pid(block: str) -> tuple[str, int]:
    values = dict(line.partition("=")[::2] for line in block.splitlines())
    return values.get("Id", ""), int(values.get("MainPID", "0"))
