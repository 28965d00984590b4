"""Which sockets each instance of an app is passed (Sockets=), as systemd reports it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from deployd.model import unit_name
from deployd.model.instance import Instance
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import SERVICE, UNIT


class PassedSockets:
    """Reads TriggeredBy= of `NAME@N.service` once for each of its invocations and generations."""

    def __init__(self, app: str, systemd: Systemd) -> None:
        self._app = app
        self._systemd = systemd
        self._units: dict[int, frozenset[str]] = {}
        self._cgroups: dict[int, str] = {}
        self._read_for: dict[int, object] = {}

    async def update(self, instances: Iterable[Instance]) -> None:
        """Read those of `instances` that have changed. Raises SystemdError."""
        wanted = {item.number: (self._invocation(item.number), item.generation) for item in instances}
        stale = [number for number, key in wanted.items() if self._read_for.get(number) != key]
        await asyncio.gather(*(self.read(number) for number in stale))
        self._read_for = {number: key for number, key in wanted.items() if self._units.get(number)}
        self._units = {number: units for number, units in self._units.items() if number in wanted}

    async def read(self, number: int) -> None:
        """Read an instance that is about to be started. Raises SystemdError."""
        unit = unit_name.instance(self._app, number)
        properties = await self._systemd.read(unit, UNIT, ["TriggeredBy"])
        self._units[number] = frozenset(properties["TriggeredBy"])
        self._cgroups[number] = ""
        if self.unix(number) is not None:
            properties = await self._systemd.read(unit, SERVICE, ["ControlGroup"])
            self._cgroups[number] = str(properties["ControlGroup"]).lstrip("/")

    def tcp(self, number: int) -> bool:
        """True if the instance has TCP sockets of its own."""
        return unit_name.instance_socket(self._app, number) in self._units.get(number, ())

    def unix(self, number: int) -> int | None:
        """Return the number of the UNIX socket from which the instance accepts, or None if it has none."""
        found = (unit_name.generation_socket_number(self._app, unit) for unit in self._units.get(number, ()))
        return next((socket for socket in found if socket is not None), None)

    def shared(self) -> dict[int, frozenset[str]]:
        """Return the shared sockets of each instance that is passed some."""
        found = {number: frozenset(filter(self._is_shared, units)) for number, units in self._units.items()}
        return {number: units for number, units in found.items() if units}

    def cgroup(self, number: int) -> str:
        """Return the path of the cgroup of an instance that has a UNIX socket, or "" if it does not run."""
        return self._cgroups.get(number, "")

    def by_instance(self) -> dict[int, int]:
        """Return the UNIX socket of each instance that has one."""
        return {number: socket for number in self._units if (socket := self.unix(number)) is not None}

    def _is_shared(self, unit: str) -> bool:
        return unit_name.shared_socket_count(self._app, unit) is not None

    def _invocation(self, number: int) -> object:
        return self._systemd.properties(unit_name.instance(self._app, number)).get("InvocationID")
