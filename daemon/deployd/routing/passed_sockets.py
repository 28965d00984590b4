"""Which sockets each instance of an app is passed (Sockets=), as systemd reports it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence, Set

from deployd.model import unit_name
from deployd.model.instance import Instance
from deployd.model.instances import differing
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import SERVICE, SOCKET, UNIT

SHARED_UNIX = 0
"""The number of the shared UNIX sockets of an app, from which some instances accept while its routing changes."""


class PassedSockets:
    """Reads TriggeredBy= of `NAME@N.service` once for each of its invocations and generations.

    What is asked of all instances is kept by kind, because each turn of the control loop asks for it.
    """

    def __init__(self, app: str, systemd: Systemd) -> None:
        self._app = app
        self._systemd = systemd
        self._seen: Sequence[Instance] = ()
        self._read_for: dict[int, tuple[str, int | None]] = {}
        self._without: set[int] = set()
        """Instances that are passed none as far as is known, which may change."""
        self._tcp: set[int] = set()
        self._unix: dict[int, int] = {}
        self._shared: dict[int, frozenset[str]] = {}
        self._cgroups: dict[int, str] = {}

    async def update(self, instances: Sequence[Instance]) -> Set[int]:
        """Read those of `instances` that have changed, and return their numbers. Raises SystemdError."""
        gone, new = differing(self._seen, instances)
        wanted = {item.number: (item.invocation_id, item.generation) for item in new if item.is_up}
        for item in gone:
            if item.number not in wanted:
                self._forget(item.number)
        stale = {number for number, key in wanted.items() if self._is_new(number, *key)} | self._without
        await asyncio.gather(*(self.read(number) for number in stale))
        self._without = {number for number in stale if not self._has_any(number)}
        self._read_for |= {number: key for number, key in wanted.items() if number not in self._without}
        self._seen = instances
        return stale

    async def read(self, number: int) -> None:
        """Read an instance that is about to be started. Raises SystemdError."""
        unit = unit_name.instance(self._app, number)
        units = frozenset((await self._systemd.read(unit, UNIT, ["TriggeredBy"]))["TriggeredBy"])
        self._forget(number)
        if unit_name.instance_socket(self._app, number) in units:
            self._tcp.add(number)
        found = (unit_name.generation_socket_number(self._app, unit) for unit in units)
        socket = next((socket for socket in found if socket is not None), None)
        if shared := frozenset(unit for unit in units if unit_name.shared_socket_count(self._app, unit) is not None):
            self._shared[number] = shared
            if any([await self._has_path(unit) for unit in sorted(shared)]):
                socket = SHARED_UNIX
        if socket is not None:
            self._unix[number] = socket
            properties = await self._systemd.read(unit, SERVICE, ["ControlGroup"])
            self._cgroups[number] = str(properties["ControlGroup"]).lstrip("/")

    async def _has_path(self, unit: str) -> bool:
        listen = (await self._systemd.read(unit, SOCKET, ["Listen"]))["Listen"]
        return any(address.startswith("/") for _, address in listen)

    def tcp(self, number: int) -> bool:
        """True if the instance has TCP sockets of its own."""
        return number in self._tcp

    def unix(self, number: int) -> int | None:
        """Return the number of the UNIX socket from which the instance accepts, or None if it has none."""
        return self._unix.get(number)

    def shared(self) -> Mapping[int, frozenset[str]]:
        """Return the shared sockets of each instance that is passed some."""
        return self._shared

    def cgroup(self, number: int) -> str:
        """Return the path of the cgroup of an instance that has a UNIX socket, or "" if it does not run."""
        return self._cgroups.get(number, "")

    def by_instance(self) -> Mapping[int, int]:
        """Return the UNIX socket of each instance that has one."""
        return self._unix

    def _is_new(self, number: int, invocation: str, generation: int | None) -> bool:
        """True if an instance may be passed other sockets. One that loses its pin keeps those that it has."""
        known = self._read_for.get(number)
        return known is None or known[0] != invocation or generation not in (None, known[1])

    def _has_any(self, number: int) -> bool:
        return number in self._tcp or number in self._unix or number in self._shared

    def _forget(self, number: int) -> None:
        self._tcp.discard(number)
        self._without.discard(number)
        for known in (self._unix, self._shared, self._cgroups, self._read_for):
            known.pop(number, None)
