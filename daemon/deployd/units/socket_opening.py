"""Opening of an app's shared sockets, also while the app is up.

systemd refuses to open a socket whose service is active. So the app unit is stopped without its instances, the socket
is opened, and the app unit is started again. Where instances still listen at the address, because the socket was
closed while they ran, the kernel would refuse a second listener: both get SO_REUSEPORT, and clients are served all the
time. The instances have to be restarted then: they do not have the new listener.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from deployd.errors import Refused, SteeringError, SystemdError
from deployd.model import unit_name
from deployd.model.scope import SYSTEM
from deployd.reuseport.listeners import share_ports
from deployd.systemd.daemon_reload import DaemonReload
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import UNIT
from deployd.units.occupants import Occupant, occupants, refusal
from deployd.units.text.sockets import Socket

log = logging.getLogger(__name__)

TIMEOUT = 30.0
"""Seconds that a unit may take to start or stop."""

TRIES = 2
"""Attempts without a process at the address: the start of an instance tries to open the socket, too, and fails."""

DROP_IN = "deployd-opening.conf"
UP = frozenset({"active", "reloading"})


class SocketOpening:
    """Opens sockets through `systemd`. `runtime` is the directory of drop-ins that are gone after a reboot."""

    def __init__(self, systemd: Systemd, reload: DaemonReload, runtime: Path = SYSTEM.runtime_units) -> None:
        self._systemd = systemd
        self._reload = reload
        self._runtime = runtime
        self._aside: set[str] = set()

    def is_aside(self, app: str) -> bool:
        """True while the app unit is down only because a socket is being opened."""
        return app in self._aside

    def sweep(self) -> None:
        """Remove the drop-ins that a killed daemon has left."""
        for file in self._runtime.glob(f"*.socket.d/{DROP_IN}"):
            _remove(file)

    async def open(self, app: str, socket: Socket) -> bool:
        """Open a shared socket and return True, or False if it is open.

        Raises Refused with the reason if it cannot listen, and SystemdError if it should be tried again.
        """
        unit, result = socket.name, ""
        for _ in range(TRIES):
            if job := await self._systemd.job(unit):
                await self._end(job)
            if await self._is_up(unit):
                return bool(result)
            found = await asyncio.to_thread(occupants, socket.addresses)
            left = [item for item in found if unit_name.instance_number(app, item.unit) is not None]
            if left and left == found and await self._is_up(unit_name.app_unit(app)):
                async with self._shared_ports(unit, left):
                    result = await self._start(app, unit)
            else:
                result = await self._start(app, unit)
            if result in ("done", "unknown"):
                return True
            if found:
                break
        raise Refused(refusal(unit, socket.addresses, result, found))

    async def _start(self, app: str, unit: str) -> str:
        """Start the socket while its service is down; return the result of the job."""
        service, app_unit = unit_name.service_of(unit), unit_name.app_unit(app)
        if not await self._is_up(service):
            return await self._end(await self._systemd.start(unit))
        if service != app_unit:
            await self._end(await self._systemd.stop(service))
            return await self._end(await self._systemd.start(unit))
        if await self._state(app_unit) == "reloading":  # it waits for its rollout, which waits for the socket
            log.warning("%s: its reload is cancelled, as %s must be opened; a rollout continues", app, unit)
        elif await self._systemd.job(app_unit) is not None:
            raise SystemdError(f"{unit} cannot be opened while {app_unit} has a job (start or stop)")
        self._aside.add(app)
        try:
            await self._end(await self._systemd.stop(app_unit, alone=True))
            return await self._end(await self._systemd.start(unit))
        finally:
            try:
                await self._end(await self._systemd.start(app_unit, alone=True))
                await self._systemd.refresh(app_unit)
            finally:
                self._aside.discard(app)

    async def _is_up(self, unit: str) -> bool:
        return await self._state(unit) in UP

    async def _state(self, unit: str) -> str:
        return str((await self._systemd.read(unit, UNIT, ["ActiveState"]))["ActiveState"])

    async def _end(self, job: asyncio.Future[str]) -> str:
        try:
            return await asyncio.wait_for(job, TIMEOUT)
        except TimeoutError:
            return "timeout"

    @asynccontextmanager
    async def _shared_ports(self, unit: str, left: Sequence[Occupant]) -> AsyncIterator[None]:
        """Let the socket listen alongside the listeners that the app's own instances still have."""
        for item in left:
            with suppress(SteeringError):  # the start of the socket fails then, and says why
                share_ports([item.inode], item.pid)
        file = self._runtime / f"{unit}.d" / DROP_IN

        async def write() -> bool:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("[Socket]\nReusePort=yes\n")
            except OSError as error:
                raise SystemdError(f"cannot write {file}: {error.strerror}") from error
            return True

        async def remove() -> bool:
            _remove(file)
            return True

        try:
            await self._reload.after(write)
            yield
        finally:
            await self._reload.after(remove)


def _remove(file: Path) -> None:
    with suppress(OSError):
        file.unlink(missing_ok=True)
        file.parent.rmdir()
