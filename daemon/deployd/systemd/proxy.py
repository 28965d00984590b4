"""Calls of systemd's manager over D-Bus (org.freedesktop.systemd1(5)), with errors as SystemdError."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from deployd.bus import DBUS, Bus, BusError
from deployd.errors import SystemdError
from deployd.model import unit_name

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
UNIT = "org.freedesktop.systemd1.Unit"
SERVICE = "org.freedesktop.systemd1.Service"
SOCKET = "org.freedesktop.systemd1.Socket"
TIMER = "org.freedesktop.systemd1.Timer"
PROPERTIES = "org.freedesktop.DBus.Properties"

UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"
PERMANENT = frozenset(
    f"org.freedesktop.systemd1.{name}" for name in ("UnitMasked", "NoSuchUnit", "LoadFailed", "BadUnitSetting")
)
"""Errors of StartUnit and StopUnit that are not resolved by another attempt."""

Properties = dict[str, Any]
"""Properties of a unit: name to value."""


class UnitRefused(SystemdError):
    """systemd cannot start or stop this unit as it is: masked, missing, invalid."""


class UnitExists(SystemdError):
    """A transient unit of that name exists already."""


class Proxy:
    """Calls with a deadline of `timeout` seconds."""

    def __init__(self, bus: Bus, timeout: float) -> None:
        self._bus = bus
        self._timeout = timeout

    async def call(
        self,
        member: str,
        signature: str = "",
        body: list[Any] | None = None,
        timeout: float | None = None,
        descriptors: Sequence[int] = (),
    ) -> list[Any]:
        """Call a method of the manager. Raises UnitExists and UnitRefused where the error says so."""
        limit = timeout or self._timeout
        try:
            return await self._bus.call(
                NAME, PATH, MANAGER, member, signature, body, timeout=limit, descriptors=descriptors
            )
        except BusError as error:
            if error.name == UNIT_EXISTS:
                raise UnitExists(error.message.rstrip(".")) from error
            if error.name in PERMANENT:
                raise UnitRefused(error.message.rstrip(".")) from error
            raise SystemdError(f"systemd refused {member}: {error.message}") from error

    async def pid(self) -> int:
        """Return the PID of the service manager."""
        try:
            (pid,) = await self._bus.call(*DBUS, "GetConnectionUnixProcessID", "s", [NAME], timeout=self._timeout)
        except BusError as error:
            raise SystemdError(f"the bus did not report the PID of systemd: {error.message}") from error
        return int(pid)

    async def subscribe(self) -> None:
        """Have systemd send signals; to be subscribed already is no error."""
        try:
            await self._bus.call(NAME, PATH, MANAGER, "Subscribe", timeout=self._timeout)
        except BusError as error:
            if error.name != "org.freedesktop.systemd1.AlreadySubscribed":
                raise SystemdError(f"systemd refused Subscribe: {error.message}") from error

    async def read(self, unit: str, names: Iterable[tuple[str, str]]) -> Properties:
        """Return properties of a unit, given as (interface, name).

        Single properties, pipelined: GetAll of a service returns 300.
        """
        wanted, path = list(names), unit_path(unit)
        try:
            values = await asyncio.gather(*(self._get(path, interface, name) for interface, name in wanted))
        except BusError as error:
            raise SystemdError(f"systemd did not report the state of {unit}: {error.message}") from error
        return dict(zip((name for _, name in wanted), values, strict=True))

    async def system_state(self) -> str:
        """Return the state of the system as a whole, as `systemctl is-system-running` prints it."""
        try:
            return str(await self._get(PATH, MANAGER, "SystemState"))
        except BusError as error:
            raise SystemdError(f"systemd did not report its state: {error.message}") from error

    async def _get(self, path: str, interface: str, name: str) -> Any:
        body = [interface, name]
        (value,) = await self._bus.call(NAME, path, PROPERTIES, "Get", "ss", body, timeout=self._timeout)
        return value


def unit_path(unit: str) -> str:
    """Return the object path of a unit."""
    return f"{PATH}/unit/{unit_name.path_encode(unit)}"
