"""systemd's manager: jobs with their results, and a mirror of the units that deployd watches.

PropertiesChanged signals keep the mirror up to date, so that an observation costs no call. systemd sends a unit's
pending property changes before the JobRemoved of its job (bus_unit_send_pending_change_signal in dbus-job.c): when a
job has ended, the mirror is up to date. Knows nothing of apps.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from deployd.bus import Bus, Signal, variant
from deployd.errors import SystemdError
from deployd.model import unit_name
from deployd.systemd.comparison import Comparison, UnitState
from deployd.systemd.jobs import FIRST_CHECK, Jobs
from deployd.systemd.mirrored import BY_INTERFACE, NEWS_WHEN_INACTIVE, NO_NEWS_OF_SOCKETS, OF_ACTIVE, names
from deployd.systemd.proxy import MANAGER, NAME, PATH, PROPERTIES, UNIT, Properties, Proxy, unit_path
from deployd.systemd.signals import number_of

AT_ONCE = 20
"""Units that are read at a time."""

RELOAD_TIMEOUT = 90.0
"""Seconds that a daemon-reload may take."""

NOTHING: Properties = {}


class Systemd:
    """`org.freedesktop.systemd1.Manager` with deadlines. Errors are SystemdError."""

    def __init__(self, bus: Bus, timeout: float = 30.0, first_check: float = FIRST_CHECK) -> None:
        """Times in seconds; see `Jobs` for `first_check`."""
        self._bus = bus
        self._timeout = timeout
        self._proxy = Proxy(bus, timeout)
        self._units: dict[str, Properties] = {}
        self.revision = 0
        """How often the mirror has changed: as long as this stays the same, no unit has changed."""
        self.reloads = 0
        """Changes when systemd reads its unit files again: as long as this stays the same, it knows no other ones."""
        self._by_path: dict[str, str] = {}
        self._jobs = Jobs(self._job_of, self._read_again, first_check)
        self._reading: dict[str, list[Properties]] = {}
        """What signals report while a unit is read, which may be newer than the values that are read."""
        self._watchers: list[Callable[[str], None]] = []
        self._comparison = Comparison(self._units, self._listed, self._read_again)

    async def subscribe(self) -> None:
        """Subscribe to systemd's signals. To be called before any job is queued, or the end of a fast one is missed."""
        subscribe = self._bus.subscribe
        for member, signature, handler in (
            ("JobRemoved", "uoss", self._on_job_removed),
            ("Reloading", "b", self._on_reloading),
        ):
            await subscribe(NAME, handler, interface=MANAGER, member=member, signature=signature, path=PATH)
        for interface, wanted in BY_INTERFACE.items():
            await subscribe(
                NAME,
                self._on_properties,
                interface=PROPERTIES,
                member="PropertiesChanged",
                signature="sa{sv}as",
                path_namespace=f"{PATH}/unit",
                arg0=interface,
                wanted=wanted,
            )
        await self._bus.follow(NAME, self._on_owner)
        await self.resubscribe()

    async def pid(self) -> int:
        """Return the PID of the service manager."""
        return await self._proxy.pid()

    async def resubscribe(self) -> None:
        """Subscribe again, which may be necessary after a re-execution of systemd."""
        await self._proxy.subscribe()

    def on_change(self, watcher: Callable[[str], None]) -> None:
        """Have `watcher` called with the name of a watched unit that has changed; "" means all of them."""
        self._watchers.append(watcher)

    async def watch(self, unit: str) -> Properties:
        """Mirror `unit` from now on and return its properties."""
        if unit not in self._units:
            self._add(unit)
            try:
                await self.refresh(unit)
            except SystemdError:
                self.unwatch(unit)
                raise
        return self._units[unit]

    def expect(self, unit: str) -> None:
        """Mirror `unit`, which is down and about to be started, from now on: nothing is known of it, or read."""
        self._add(unit)

    async def watch_all(self, units: Iterable[str]) -> None:
        """Mirror units from now on, and read all of them, also those that are mirrored already.

        The states of all come in one reply, and little more is read of those that are active: a thousand units would
        take sixteen thousand calls otherwise.
        """
        wanted = list(units)
        new = [unit for unit in wanted if unit not in self._units]
        for unit in new:
            self._add(unit)
        try:
            with contextlib.ExitStack() as stack:
                news = {unit: stack.enter_context(self._signalled(unit)) for unit in wanted}
                listed = await self.states(unit_name.common_patterns(wanted)) if wanted else {}
                for at in range(0, len(wanted), AT_ONCE):
                    some = wanted[at : at + AT_ONCE]
                    await asyncio.gather(*(self._read(unit, listed.get(unit), news[unit]) for unit in some))
        except SystemdError:
            for unit in new:
                self.unwatch(unit)
            raise

    async def refresh(self, unit: str) -> None:
        """Read a watched unit again."""
        with self._signalled(unit) as news:
            await self._read(unit, None, news)

    @contextlib.contextmanager
    def _signalled(self, unit: str) -> Iterator[Properties]:
        """Collect what signals report of a unit in the context."""
        news: Properties = {}
        self._reading.setdefault(unit, []).append(news)
        try:
            yield news
        finally:
            self._reading[unit] = [item for item in self._reading[unit] if item is not news]

    async def _read(self, unit: str, listed: UnitState | None, news: Properties) -> None:
        """Read a watched unit, of which an entry of the list of units may be known, and `news` from signals."""
        known: Properties = {}
        wanted = names(unit)
        if listed is not None and listed.active == "active":
            known = listed.properties()
            wanted = [(interface, name) for interface, name in wanted if name in OF_ACTIVE]
        read = await self._proxy.read(unit, wanted)
        if unit in self._units:  # unwatch() may have been called meanwhile
            self._set(unit, self._units[unit] | known | read | news)

    def unwatch(self, unit: str) -> None:
        """Stop mirroring `unit`."""
        self.revision += 1
        self._units.pop(unit, None)
        self._by_path.pop(unit_path(unit), None)

    def properties(self, unit: str) -> Properties:
        """Return the mirrored properties of a watched unit; none of a unit that is not watched.

        As long as nothing changes it is the same object, and another one afterwards.
        """
        return self._units.get(unit, NOTHING)

    def mirrored(self, units: Iterable[str]) -> list[Properties]:
        """Return the mirrored properties of several units; unchanged properties are the same objects as before."""
        return [self._units.get(unit, NOTHING) for unit in units]

    async def read(self, unit: str, interface: str, names: Iterable[str]) -> Properties:
        """Read properties of a unit, watched or not."""
        return await self._proxy.read(unit, [(interface, name) for name in names])

    async def start(self, unit: str, *, alone: bool = False) -> asyncio.Future[str]:
        """Queue a start job. The future has the result of the job: done, failed, timeout, dependency, canceled …

        With `alone`, units on which it depends are neither started nor waited for.
        """
        return await self._job("StartUnit", unit, alone=alone)

    async def stop(self, unit: str, *, alone: bool = False) -> asyncio.Future[str]:
        """Queue a stop job; see start. With `alone`, units that are part of it are not stopped."""
        return await self._job("StopUnit", unit, alone=alone)

    async def restart(self, unit: str) -> asyncio.Future[str]:
        """Queue a restart job; see start."""
        return await self._job("RestartUnit", unit)

    async def start_transient(
        self,
        unit: str,
        properties: Mapping[str, tuple[str, Any]],
        descriptors: Sequence[int] = (),
        others: Mapping[str, Mapping[str, tuple[str, Any]]] | None = None,
    ) -> asyncio.Future[str]:
        """Create a unit with `properties` (name to signature and value) and queue its start job; see start.

        `others` are units with their properties that are created, too, and not started. A value of type ``h`` is an
        index of `descriptors`. With AddRef the unit stays loaded until `release`, or until deployd leaves the bus.
        Raises UnitExists.
        """
        more = [[name, _variants(those)] for name, those in (others or {}).items()]
        body = [unit, "fail", _variants(properties), more]
        with self._jobs.listening():
            (path,) = await self._proxy.call("StartTransientUnit", "ssa(sv)a(sa(sv))", body, descriptors=descriptors)
            return self._jobs.end(path, unit)

    async def release(self, unit: str) -> None:
        """Release the reference of AddRef; a unit that does not exist is no error."""
        with contextlib.suppress(SystemdError):
            await self._proxy.call("UnrefUnit", "s", [unit])

    async def job(self, unit: str) -> asyncio.Future[str] | None:
        """Return the result of the job that is queued for `unit`, as start does; None if there is none."""
        with self._jobs.listening():
            path = await self._job_of(unit)
            return None if path == "/" else self._jobs.end(path, unit)

    async def freeze(self, unit: str) -> None:
        """Stop all processes of `unit` with SIGSTOP. May be repeated.

        FreezeUnit is not used. systemd 257 refuses to stop a frozen unit, waits 90 s for it at shutdown, and cannot
        free a unit whose process was killed meanwhile; 252 believes a unit frozen whose process was killed and
        restarted. After the signal of a stop job systemd sends SIGCONT automatically.
        """
        await self._proxy.call("KillUnit", "ssi", [unit, "all", signal.SIGSTOP])

    async def thaw(self, unit: str) -> None:
        """Continue the processes that `freeze` stopped.

        To be called before a stop as well: with KillMode=mixed systemd continues the main process only, which then
        waits for its stopped children.
        """
        await self._proxy.call("KillUnit", "ssi", [unit, "all", signal.SIGCONT])

    async def signal_main(self, unit: str, name: str) -> None:
        """Send a signal, by its name, to the main process of `unit`."""
        await self._proxy.call("KillUnit", "ssi", [unit, "main", number_of(name)])

    async def reset_failed(self, unit: str) -> None:
        """Reset the failed state and NRestarts= of a unit; one that is not loaded is no error."""
        with contextlib.suppress(SystemdError):
            await self._proxy.call("ResetFailedUnit", "s", [unit])

    async def reload(self) -> None:
        """Do a daemon-reload. With many units it is slow, and systemd answers no calls meanwhile."""
        await self._proxy.call("Reload", timeout=max(self._timeout, RELOAD_TIMEOUT))

    async def enable(self, units: list[str]) -> bool:
        """Enable unit files, loaded or not; return False if all of them were enabled already."""
        return bool((await self._proxy.call("EnableUnitFiles", "asbb", [units, False, False]))[1])

    async def disable(self, units: list[str]) -> None:
        """Disable unit files."""
        await self._proxy.call("DisableUnitFiles", "asb", [units, False])

    async def clean(self, unit: str) -> None:
        """Remove what an inactive unit has left on the disk (systemctl(1), clean --what=state). For a timer that is the
        time of its last run; that there is nothing is no error."""
        with contextlib.suppress(SystemdError):
            await self._proxy.call("CleanUnit", "sas", [unit, ["state"]])

    async def list_units(self, pattern: str) -> list[str]:
        """Return the names of the loaded units that match."""
        return list(await self.states([pattern]))

    async def states(self, patterns: Iterable[str]) -> dict[str, UnitState]:
        """Return the loaded units that match any of these patterns (fnmatch(3)), by name."""
        (rows,) = await self._proxy.call("ListUnitsByPatterns", "asas", [[], list(patterns)])
        return {row[0]: UnitState(load=row[2], active=row[3], sub=row[4], job=row[7]) for row in rows}

    async def is_stopping(self) -> bool:
        """True if the machine is shutting down."""
        return await self._proxy.system_state() == "stopping"

    async def _listed(self, patterns: Iterable[str]) -> dict[str, UnitState]:
        """Return the states after a daemon-reload. The subscription should have survived it."""
        await self.resubscribe()
        return await self.states(patterns)

    async def _job(self, method: str, unit: str, *, alone: bool = False) -> asyncio.Future[str]:
        with self._jobs.listening():
            (path,) = await self._proxy.call(method, "ss", [unit, "ignore-dependencies" if alone else "replace"])
            return self._jobs.end(path, unit)

    async def _job_of(self, unit: str) -> str:
        """Return the object path of the unit's job, "/" if it has none."""
        _, path = (await self._proxy.read(unit, [(UNIT, "Job")]))["Job"]
        return str(path)

    async def _read_again(self, unit: str) -> None:
        if unit in self._units:
            before = self._units[unit]
            await self.refresh(unit)
            if self.properties(unit) != before:
                self._notify(unit)

    def _add(self, unit: str) -> None:
        self._set(unit, {})
        self._by_path[unit_path(unit)] = unit

    def _set(self, unit: str, properties: Properties) -> None:
        self._units[unit] = properties
        self.revision += 1

    def _on_properties(self, message: Signal) -> None:
        unit = self._by_path.get(message.path)
        if unit is None:
            return
        wanted = BY_INTERFACE[message.body[0]]
        changed = {name: value for name, value in message.body[1].items() if name in wanted}
        for collected in self._reading.get(unit, ()):
            collected.update(changed)
        mirror = self._units[unit]
        idle = mirror.get("ActiveState") == "inactive"
        news = changed if idle else {name: value for name, value in changed.items() if name not in NEWS_WHEN_INACTIVE}
        differing = {name for name, value in news.items() if mirror.get(name) != value}
        if differing:
            self._set(unit, mirror | changed)
            if not (unit_name.is_socket(unit) and differing <= NO_NEWS_OF_SOCKETS):
                self._notify(unit)

    def _on_job_removed(self, message: Signal) -> None:
        number, path, unit, result = message.body
        mirror = self.properties(unit)
        if mirror.get("Job", [0])[0] == number:
            # The unit's change of Job is signalled after the end of the job.
            self._set(unit, mirror | {"Job": [0, "/"]})
        self._jobs.removed(path, result)

    def _on_reloading(self, message: Signal) -> None:
        self.reloads += 1
        if message.body == [False]:
            self._comparison.begin()  # jobs survive, and keep their names

    def _on_owner(self, owner: str) -> None:
        """Handle a re-execution of systemd: signals sent between its two connections are lost, so jobs are unknown and
        all units have to be read again."""
        self.reloads += 1
        if owner:
            self._jobs.forget()
            self._notify("")

    def _notify(self, unit: str) -> None:
        for watcher in self._watchers:
            watcher(unit)


def _variants(properties: Mapping[str, tuple[str, Any]]) -> list[list[Any]]:
    return [[name, variant(*value)] for name, value in properties.items()]
