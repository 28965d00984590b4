"""systemd's manager over D-Bus: jobs with their results, and a mirror of the units that deployd watches.

The mirror is kept by PropertiesChanged signals, so that looking at the world costs no call. systemd sends a unit's
pending property changes before the JobRemoved of its job (bus_unit_send_pending_change_signal in dbus-job.c), so when
a job has ended the mirror is up to date. Knows nothing of apps.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from deployd.bus import Bus, BusError, Signal, variant
from deployd.errors import SystemdError
from deployd.model import unit_name
from deployd.systemd.comparison import Comparison, UnitState
from deployd.systemd.jobs import FIRST_LOOK, Jobs

log = logging.getLogger(__name__)

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
UNIT = "org.freedesktop.systemd1.Unit"
SERVICE = "org.freedesktop.systemd1.Service"
PROPERTIES = "org.freedesktop.DBus.Properties"

UNIT_PROPERTIES = frozenset(
    {
        "ActiveState",
        "SubState",
        "LoadState",
        "InvocationID",
        "InactiveExitTimestampMonotonic",
        "ActiveEnterTimestampMonotonic",
        "ConditionResult",
        "Job",
    }
)
SERVICE_PROPERTIES = frozenset(
    {
        "MainPID",
        "NRestarts",
        "Result",
        "ExecMainCode",
        "ExecMainStatus",
        "ExecMainStartTimestampMonotonic",
        "ExecMainExitTimestampMonotonic",
    }
)

HOPELESS = frozenset(
    f"org.freedesktop.systemd1.{name}" for name in ("UnitMasked", "NoSuchUnit", "LoadFailed", "BadUnitSetting")
)
"""Errors of StartUnit and StopUnit that trying again does not mend."""

UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"

Properties = dict[str, Any]

NOTHING: Properties = {}


class UnitRefused(SystemdError):
    """systemd will not start or stop this unit as it is: masked, missing, broken."""


class UnitExists(SystemdError):
    """A transient unit of that name is there already."""


class Systemd:
    """`org.freedesktop.systemd1.Manager` with deadlines. Errors are SystemdError."""

    def __init__(self, bus: Bus, timeout: float = 30.0, first_look: float = FIRST_LOOK) -> None:
        self._bus = bus
        self._timeout = timeout
        self._units: dict[str, Properties] = {}
        self._by_path: dict[str, str] = {}
        self._jobs = Jobs(self._job_of, self._read_again, first_look)
        self._reading: dict[str, list[Properties]] = {}
        """What signals said while a unit was read: it is newer than what was read first, or soon will be."""
        self._watchers: list[Callable[[str], None]] = []
        self._comparison = Comparison(self._units, self._listed, self._read_again)

    async def subscribe(self) -> None:
        """Have systemd send signals; before any job is queued, or the end of a fast one is missed."""
        subscribe = self._bus.subscribe
        for member, signature, handler in (
            ("JobRemoved", "uoss", self._on_job_removed),
            ("Reloading", "b", self._on_reloading),
        ):
            await subscribe(NAME, handler, interface=MANAGER, member=member, signature=signature, path=PATH)
        for interface in (UNIT, SERVICE):
            await subscribe(
                NAME,
                self._on_properties,
                interface=PROPERTIES,
                member="PropertiesChanged",
                signature="sa{sv}as",
                path_namespace=f"{PATH}/unit",
                arg0=interface,
            )
        await self._bus.follow(NAME, self._on_owner)
        await self.resubscribe()

    async def resubscribe(self) -> None:
        """Subscribe again, which a re-executed manager may need; being subscribed already is no error."""
        try:
            await self._bus.call(NAME, PATH, MANAGER, "Subscribe", timeout=self._timeout)
        except BusError as error:
            if error.name != "org.freedesktop.systemd1.AlreadySubscribed":
                raise SystemdError(f"systemd refused Subscribe: {error.message}") from error

    def on_change(self, watcher: Callable[[str], None]) -> None:
        """Have `watcher` called with the name of a watched unit that changed; "" means all of them."""
        self._watchers.append(watcher)

    async def watch(self, unit: str, *, afresh: bool = False) -> Properties:
        """Begin to mirror `unit`, and return its properties; `afresh` reads also what is mirrored already."""
        if unit in self._units:
            if afresh:
                await self.refresh(unit)
        else:
            path = unit_path(unit)
            self._units[unit] = {}
            self._by_path[path] = unit
            try:
                await self.refresh(unit)
            except SystemdError:
                self.unwatch(unit)
                raise
        return self._units[unit]

    async def refresh(self, unit: str) -> None:
        """Read a watched unit afresh. Single properties, pipelined: GetAll of a service has 300 of them."""
        names = [(UNIT, name) for name in UNIT_PROPERTIES]
        if unit_name.is_service(unit):
            names += [(SERVICE, name) for name in SERVICE_PROPERTIES]
        news: Properties = {}
        self._reading.setdefault(unit, []).append(news)
        try:
            values = await asyncio.gather(*(self._property(unit, interface, name) for interface, name in names))
        finally:
            self._reading[unit] = [item for item in self._reading[unit] if item is not news]
        read = dict(zip((name for _, name in names), values, strict=True))
        if unit in self._units:  # it may have been left meanwhile
            self._units[unit] = self._units[unit] | read | news

    async def _property(self, unit: str, interface: str, name: str) -> Any:
        try:
            (value,) = await self._bus.call(
                NAME, unit_path(unit), PROPERTIES, "Get", "ss", [interface, name], timeout=self._timeout
            )
        except BusError as error:
            raise SystemdError(f"systemd did not tell the state of {unit}: {error.message}") from error
        return value

    def unwatch(self, unit: str) -> None:
        self._units.pop(unit, None)
        self._by_path.pop(unit_path(unit), None)

    def properties(self, unit: str) -> Properties:
        """The mirror of a watched unit; empty for one that is not watched. The same object as long as nothing changed,
        and another one afterwards."""
        return self._units.get(unit, NOTHING)

    async def start(self, unit: str) -> asyncio.Future[str]:
        """Queue a start job. The future ends with the job's result: done, failed, timeout, dependency, canceled …"""
        return await self._job("StartUnit", unit)

    async def stop(self, unit: str) -> asyncio.Future[str]:
        """Queue a stop job; see start."""
        return await self._job("StopUnit", unit)

    async def restart(self, unit: str) -> asyncio.Future[str]:
        """Queue a job that stops and starts it; see start."""
        return await self._job("RestartUnit", unit)

    async def freeze(self, unit: str) -> None:
        """Stop all processes of `unit` where they stand; again is fine.

        With SIGSTOP, not with FreezeUnit: systemd 257 refuses to stop what it has frozen, waits 90 s for it when the
        machine goes down, and has no way to free a unit whose process was killed meanwhile; 252 takes a unit whose
        process was killed and restarted for frozen. A stop job sends SIGCONT after its signal by itself.
        """
        await self._call("KillUnit", "ssi", [unit, "all", signal.SIGSTOP])

    async def thaw(self, unit: str) -> None:
        """Have what `freeze` stopped go on. To be called before a stop, too: with KillMode=mixed systemd wakes the main
        process alone, which then waits for its sleeping children."""
        await self._call("KillUnit", "ssi", [unit, "all", signal.SIGCONT])

    async def reset_failed(self, unit: str) -> None:
        """Forget that a unit failed and how often it was restarted; a unit that is not loaded is no error."""
        with contextlib.suppress(SystemdError):
            await self._call("ResetFailedUnit", "s", [unit])

    async def reload(self) -> None:
        """daemon-reload. Slow with many units (PID 1 answers nothing meanwhile), hence a deadline of its own."""
        await self._call("Reload", timeout=max(self._timeout, 90.0))

    async def enable(self, units: list[str]) -> bool:
        """Enable units that are on the disk, read or not; False if they were."""
        return bool((await self._call("EnableUnitFiles", "asbb", [units, False, False]))[1])

    async def disable(self, units: list[str]) -> None:
        await self._call("DisableUnitFiles", "asb", [units, False])

    async def list_units(self, pattern: str) -> list[str]:
        """Names of the loaded units that match."""
        return list(await self.states([pattern]))

    async def states(self, patterns: Iterable[str]) -> dict[str, UnitState]:
        """The loaded units that match any of these patterns (fnmatch(3)), by name."""
        (rows,) = await self._call("ListUnitsByPatterns", "asas", [[], list(patterns)])
        return {row[0]: UnitState(load=row[2], active=row[3], sub=row[4], job=row[7]) for row in rows}

    async def _listed(self, patterns: Iterable[str]) -> dict[str, UnitState]:
        """The same after a daemon-reload; being subscribed should have outlived it."""
        await self.resubscribe()
        return await self.states(patterns)

    async def is_stopping(self) -> bool:
        """Is the machine on its way down?"""
        try:
            (state,) = await self._bus.call(
                NAME, PATH, PROPERTIES, "Get", "ss", [MANAGER, "SystemState"], timeout=self._timeout
            )
        except BusError as error:
            raise SystemdError(f"systemd did not tell its state: {error.message}") from error
        return bool(state == "stopping")

    async def start_transient(self, unit: str, properties: Mapping[str, tuple[str, Any]]) -> asyncio.Future[str]:
        """Make a unit of `properties` (name to signature and value) and queue its start job; see start.

        With AddRef among them it stays loaded until `release`, or until we leave the bus. Raises UnitExists.
        """
        body = [unit, "fail", [[name, variant(*value)] for name, value in properties.items()], []]
        with self._jobs.listening():
            (path,) = await self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", body)
            return self._jobs.end(path, unit)

    async def release(self, unit: str) -> None:
        """Give back what AddRef took; a unit that is gone is no error."""
        with contextlib.suppress(SystemdError):
            await self._call("UnrefUnit", "s", [unit])

    async def read(self, unit: str, interface: str, names: Iterable[str]) -> Properties:
        """Properties of a unit, watched or not, as they are now."""
        wanted = list(names)
        values = await asyncio.gather(*(self._property(unit, interface, name) for name in wanted))
        return dict(zip(wanted, values, strict=True))

    async def job(self, unit: str) -> asyncio.Future[str] | None:
        """The end of the job that is queued for `unit`, as of start; None if there is none."""
        with self._jobs.listening():
            path = await self._job_of(unit)
            return None if path == "/" else self._jobs.end(path, unit)

    async def _job(self, method: str, unit: str) -> asyncio.Future[str]:
        with self._jobs.listening():
            (path,) = await self._call(method, "ss", [unit, "replace"])
            return self._jobs.end(path, unit)

    async def _job_of(self, unit: str) -> str:
        """The object path of the unit's job, "/" if it has none."""
        _, path = await self._property(unit, UNIT, "Job")
        return str(path)

    async def _read_again(self, unit: str) -> None:
        if unit in self._units:
            before = self._units[unit]
            await self.refresh(unit)
            if self.properties(unit) != before:
                self._tell(unit)

    async def _call(
        self, member: str, signature: str = "", body: list[Any] | None = None, timeout: float | None = None
    ) -> list[Any]:
        try:
            return await self._bus.call(NAME, PATH, MANAGER, member, signature, body, timeout=timeout or self._timeout)
        except BusError as error:
            if error.name == UNIT_EXISTS:
                raise UnitExists(error.message.rstrip(".")) from error
            if error.name in HOPELESS:
                raise UnitRefused(error.message.rstrip(".")) from error
            raise SystemdError(f"systemd refused {member}: {error.message}") from error

    def _on_properties(self, message: Signal) -> None:
        unit = self._by_path.get(message.path)
        if unit is None:
            return
        wanted = UNIT_PROPERTIES if message.body[0] == UNIT else SERVICE_PROPERTIES
        changed = {name: value for name, value in message.body[1].items() if name in wanted}
        for news in self._reading.get(unit, ()):
            news.update(changed)
        mirror = self._units[unit]
        # Jobs come and go with every change of state; alone they are news only where nothing else tells.
        idle = mirror.get("ActiveState") == "inactive"
        if any(mirror.get(name) != value for name, value in changed.items() if name != "Job" or idle):
            self._units[unit] = mirror | changed
            self._tell(unit)

    def _on_job_removed(self, message: Signal) -> None:
        number, path, unit, result = message.body
        mirror = self.properties(unit)
        if mirror.get("Job", [0])[0] == number:
            # That the unit has no job any more is signalled later than the job's end.
            self._units[unit] = mirror | {"Job": [0, "/"]}
        self._jobs.removed(path, result)

    def _on_reloading(self, message: Signal) -> None:
        if message.body == [False]:
            self._comparison.begin()  # jobs go on, and keep their names

    def _on_owner(self, owner: str) -> None:
        """Handle a re-execution of systemd: signals sent between its two connections are lost, so jobs are unknown and
        all units have to be read again."""
        if owner:
            self._jobs.forget()
            self._tell("")

    def _tell(self, unit: str) -> None:
        for watcher in self._watchers:
            watcher(unit)


def unit_path(unit: str) -> str:
    """Return the object path of a unit."""
    return f"{PATH}/unit/{unit_name.path_encode(unit)}"
