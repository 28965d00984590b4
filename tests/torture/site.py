"""One host with the daemon under test: the app `demo` under load, and the driver's means to observe and to act.

Requests are made by this process, with the client library of the command, because starting the command for each of them
would take longer than the rollout.
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
"""Size of the file system for the state: enough for the history of a thousand rollouts, and quickly filled."""

DEADLINE = 45.0
"""Seconds in which anything must end, on a busy machine."""
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
    """An expected change did not happen before its deadline."""


@dataclass(slots=True)
class Site:
    """Create it with `open`."""

    machine: Machine
    stage: Stage
    line: Line
    company: Company
    """Disturbances, from `campaign` on."""
    held: int = 0
    """Connections of killed processes."""
    requests: int = 0
    failed: int = 0
    """Counts of ended loads; `traffic` adds those of the running one."""
    routing: str = "shared"
    """Routing of the app."""
    keepalive: int = KEEPALIVE
    left: set[tuple[str, int]] = field(default_factory=set)
    """Leftovers of the case before."""
    small: bool = False
    """True if the state is on a file system of its own, which a reboot loses."""
    _load: Load | None = None
    _settings: dict[str, object] = field(default_factory=dict)
    _cursor: str = ""

    @classmethod
    async def open(cls, machine: Machine, routing: str = "shared", **settings: object) -> Site:
        """Deploy generation 1 of `demo`, with the daemon under test, and start the load."""
        site = cls(machine, Stage(machine), Line(), Company(machine), routing=routing, _settings=settings)
        machine.write(f"{UNITS}/{DAEMON}.d/torture.conf", DROP_IN)
        await site.line.open(site.host_path(SOCKET))
        await site.run("systemctl", "daemon-reload")
        await site.run("systemctl", "restart", DAEMON)
        await site._apply()
        return site

    async def _apply(self) -> None:
        defaults = {"listen": [f"127.0.0.1:{PORT}"], "rollout": None, "gate": None, "service": None} | self._settings
        self.stage.configure(release=self.stage.release("first"), routing=self.routing, **defaults)
        async with await self.client() as client:
            await client.apply(APP)
        await self.until_idle()
        await self.start_load()

    async def put_on(self, routing: str, keepalive: int) -> None:
        """Change routing and load. With another routing the app is removed and deployed anew."""
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

    # ---- commands

    async def run(self, *argv: str, check: bool = True) -> str:
        """Run a command on the host; return its standard output."""
        done = await asyncio.to_thread(self.machine.run, argv, check=check, timeout=DEADLINE)
        return done.stdout

    async def in_daemon(self, *argv: str, check: bool = True) -> None:
        """Run a command in the mount namespace of the daemon."""
        pid = (await self.show(DAEMON, "MainPID"))["MainPID"]
        await self.run("nsenter", f"--target={pid}", "--mount", "--", *argv, check=check)

    async def show(self, unit: str, *properties: str) -> dict[str, str]:
        return await asyncio.to_thread(self.stage.show, unit, *properties)

    def host_path(self, path: str) -> Path:
        return self.machine.path(path)

    async def client(self) -> Client:
        return await Client.connect(self.machine.bus_address)

    # ---- deployd's documents

    async def until(self, holds: Callable[[Json], bool], what: str, deadline: float = DEADLINE) -> Json:
        """Return the first status for which `holds` is true, also across restarts of the daemon and the bus."""
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
                        await asyncio.sleep(0.1)  # a restart of the bus is not announced
        raise Stuck(f"{what}: not within {deadline:g} s; status was {json.dumps(last)}")

    async def until_idle(self, but: int | None = None) -> Json:
        """Wait until no rollout is in progress and all instances but `but` are ready, in one generation."""
        what = "all instances ready in one generation and no rollout in progress"
        return await self.until(lambda status: is_whole(status, but), what)

    async def history(self) -> list[Json]:
        """Return the rows of the history, newest first."""
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    async with await self.client() as client:
                        rows: list[Json] = (await client.history(APP))["generations"]
                        return rows
                except AWAY:
                    await asyncio.sleep(0.1)

    # ---- state of the host

    def pins(self) -> dict[int, int]:
        """Map pinned instances to generations."""
        directory = self.host_path(f"{STATE}/apps/{APP}/pins")
        return {int(pin.name): int(pin.readlink().name) for pin in directory.iterdir() if pin.name.isdigit()}

    async def alive(self) -> dict[int, int]:
        """Map pinned instances that have a process to generations."""
        pins = self.pins()
        units = {number: f"{APP}@{number}.service" for number in pins}
        if not units:
            return {}
        text = await self.run("systemctl", "show", "--property=Id,MainPID", *units.values())
        found = dict(map(_unit_and_pid, text.split("\n\n")))
        return {number: pins[number] for number, unit in units.items() if found.get(unit)}

    def records(self) -> dict[int, int]:
        """Map instances in standby to generations, leaving out pinned ones."""
        directory, pins = self.host_path(f"{STATE}/apps/{APP}/standby"), self.pins()
        found = directory.iterdir() if directory.is_dir() else ()
        numbers = [path for path in found if path.name.isdigit() and int(path.name) not in pins]
        return {int(path.name): int(path.read_text().split()[0]) for path in numbers}

    async def sockets(self) -> set[int]:
        """Return the instances whose own socket unit is active."""
        argv = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active", f"{APP}@*.socket"]
        names = [line.split()[0] for line in (await self.run(*argv)).splitlines()]
        return {int(name.removeprefix(f"{APP}@").removesuffix(".socket")) for name in names}

    async def processes(self) -> dict[int, int]:
        """Map instances that have a main process to its PID, with or without a pin."""
        text = await self.run("systemctl", "show", "--property=Id,MainPID", f"{APP}@*.service")
        found = dict(map(_unit_and_pid, filter(None, text.split("\n\n"))))
        return {int(unit.removeprefix(f"{APP}@").removesuffix(".service")): pid for unit, pid in found.items() if pid}

    def state_of(self, pid: int) -> str:
        """Return the state of a process as in proc(5); T is stopped. Raises OSError if it has ended."""
        return self.host_path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]

    def left_overs(self) -> set[tuple[str, int]]:
        """Return paths and inodes of what a killed daemon may leave and the next rollout must remove.

        These are incomplete files, and units of single instances other than those in standby.
        """
        places = (UNITS, f"{STATE}/apps/{APP}/pins", f"{STATE}/apps/{APP}/generations", f"{STATE}/apps", STATE)
        found = [path for place in places for path in self.host_path(place).glob(".*")]
        needed = {f"{APP}@{number}.service" for number in self.records()}
        found += (path for path in self.host_path(UNITS).glob(f"{APP}@[0-9]*.service") if path.name not in needed)
        found += self.host_path("/run/deployd/verify").glob("*")
        root = self.host_path("/")
        return {(f"/{path.relative_to(root)}", path.lstat().st_ino) for path in found}

    def generations(self) -> set[int]:
        """Return the generations that have files."""
        directory = self.host_path(f"{STATE}/apps/{APP}/generations")
        return {int(path.name) for path in directory.iterdir() if path.name.isdigit()}

    async def socket(self) -> dict[str, str]:
        """Return properties of the app's socket that do not change unless it is closed."""
        return await self.show(f"{APP}.socket", "ActiveState", "InvocationID", "ActiveEnterTimestampMonotonic")

    async def journal(self) -> str:
        """Return the daemon's journal since the last call."""
        argv = ["journalctl", "--output=short-precise", "--show-cursor", "--no-pager", f"--unit={DAEMON}"]
        await self.run("journalctl", "--sync")
        text = await self.run(*argv, *([f"--after-cursor={self._cursor}"] if self._cursor else []))
        body, _, cursor = text.rpartition("-- cursor: ")
        self._cursor = cursor.strip() or self._cursor
        return body

    async def log_tasks(self) -> None:
        """Have the daemon write the stacks of its tasks to the journal."""
        await self.run("systemctl", "kill", "--signal=USR1", "--kill-whom=main", DAEMON, check=False)

    async def units(self) -> str:
        """Return properties of the app's units."""
        names = (f"{APP}@*.service", f"{APP}@*.socket", f"{APP}.service", f"{APP}.socket")
        properties = "--property=Id,LoadState,ActiveState,SubState,Result,NRestarts,Job"
        return await self.run("systemctl", "show", "--all", properties, *names, check=False)

    # ---- load

    async def start_load(self) -> None:
        self._load = await asyncio.to_thread(self.stage.load, RATE, self.keepalive)

    async def stop_load(self) -> None:
        """Stop the load after its pending requests, and add its counts."""
        if self._load is not None:
            load, self._load = self._load, None
            record = await asyncio.to_thread(load.stop)
            self.requests += len(record)
            self.failed += len(record.failed)

    async def traffic(self) -> tuple[int, int]:
        """Return the number of requests and failures so far."""
        if self._load is None:
            return self.requests, self.failed
        try:
            progress = await asyncio.to_thread(self._load.progress)
        except LoadError as error:
            raise Stuck(str(error)) from error
        return self.requests + progress["requests"], self.failed + progress["failed"]

    # ---- the machine

    async def kill(self, instance: int) -> None:
        """Send SIGKILL to an instance, and count its connections."""
        self.held += await asyncio.to_thread(self.stage.kill, instance)

    async def reboot(self, clean: bool) -> None:
        """Reboot the host, without load meanwhile."""
        await self.stop_load()
        await self.company.stop()
        if clean:
            await self.line.answer(do="go")  # must not be blocked while it is being stopped
        self.line.disarm()  # nor the next one, because no verdict would follow
        await asyncio.to_thread(self.machine.reboot, clean)
        self._cursor = ""
        await self.line.open(self.host_path(SOCKET))
        await self.company.start()
        await self.start_load()

    async def put_on_small_disk(self, small: bool) -> None:
        """Move the state to a file system that can be filled, or back to the host's own, which survives a reboot."""
        if small == self.small:
            return
        await self.company.stop()  # its requests would start the daemon again
        await self.run("systemctl", "stop", DAEMON)
        mount = f"mount -t tmpfs -o size={SMALL},mode=755 small {STATE}" if small else f"umount {STATE}"
        move = f"rm -rf /run/moved && cp -a {STATE} /run/moved && {mount} && find {STATE} -mindepth 1 -delete"
        await self.run("sh", "-c", f"{move} && cp -a /run/moved/. {STATE}/ && rm -rf /run/moved")
        await self.run("systemctl", "start", DAEMON)
        await self.company.start()
        self.small = small


def is_whole(status: Json, but: int | None = None) -> bool:
    """True if no rollout is in progress and all instances but `but` are ready, in one generation."""
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
