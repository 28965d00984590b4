"""Socket units of a steered app: opened and closed, and which instances have lost theirs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection

from deployd.errors import SystemdError
from deployd.model import unit_name
from deployd.model.instance import Instance, State
from deployd.systemd.comparison import UnitState
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import UNIT, UnitRefused
from deployd.units.occupants import occupants, refusal

log = logging.getLogger(__name__)

TIMEOUT = 30.0
"""Seconds that a socket unit may take to open or close."""
POLL = 0.01
"""Seconds between two readings of a queue that is to become empty, or to be seen: nothing signals that."""
SEEN = 0.5
"""Seconds within which systemd sees that a connection waits."""


class SocketUnits:
    """Opens and closes socket units, each together with its starter, the service that a connection to it starts."""

    def __init__(self, app: str, systemd: Systemd) -> None:
        self._app = app
        self._systemd = systemd
        self._opened: dict[str, int] = {}
        """Sockets that were opened here, and the count of systemd's reloads then."""

    async def open(self, unit: str, starter: str, addresses: Collection[str] = ()) -> bool:
        """Open a socket, and return False if it was open. Raises UnitRefused if it cannot listen at its `addresses`,
        with the reason, and SystemdError."""
        states = await self._systemd.states([unit, starter])
        if unit in states and states[unit].job and (job := await self._systemd.job(unit)):
            await self.end(job)  # starting it now would cancel the job, and a `systemctl stop` that waits would fail
            states = await self._systemd.states([unit, starter])
        if unit in states and states[unit].active == "active":
            await self._systemd.watch(unit)
            await self._systemd.refresh(unit)
            return False
        if _runs(states.get(starter)):
            await self._stop(starter)  # an active one would keep the socket from opening
        reloads = self._systemd.reloads
        self._systemd.expect(unit)
        result = await self.end(await self._systemd.start(unit))
        if not self.is_open(unit):  # the first signal of a unit that was not loaded carries no state
            await self._systemd.refresh(unit)
        if not self.is_open(unit):
            found = await asyncio.to_thread(occupants, addresses)
            others = [item for item in found if not unit_name.belongs_to_instances(self._app, item.unit)]
            raise UnitRefused(refusal(unit, addresses, result, others))
        self._opened[unit] = reloads
        return True

    async def close(self, unit: str, starter: str) -> None:
        """Close systemd's end of a socket. A process that has it keeps accepting what was queued before."""
        self._opened.pop(unit, None)
        await self._stop(unit)
        if _runs((await self._systemd.states([starter])).get(starter)):
            await self._stop(starter)

    async def unpolled(self, unit: str, has_waiting: Callable[[], bool]) -> None:
        """Wait until systemd no longer polls a socket in which connections wait. Raises what `has_waiting` raises.

        It does so from the end of the instance until it has seen one of them. If it sees one while a stop is queued, it
        accepts and closes all that wait (flush_ports in systemd's socket.c), and none migrates.
        """
        end = time.monotonic() + SEEN
        while has_waiting() and time.monotonic() < end:
            if (await self._systemd.read(unit, UNIT, ["SubState"]))["SubState"] != "listening":
                return
            await asyncio.sleep(POLL)

    def is_open(self, unit: str) -> bool:
        """True if the socket is open, as the mirror has it."""
        return self._state(unit) == "active"

    def is_as_opened(self, unit: str) -> bool:
        """True if the socket is open, and would be the same if it were opened now. False if that is unknown: an earlier
        daemon has opened it, or systemd has read its unit files since."""
        return self.is_open(unit) and self._opened.get(unit) == self._systemd.reloads

    def invocation(self, unit: str) -> object:
        """Return what changes when the socket is closed and opened again."""
        return self._systemd.properties(unit).get("InvocationID")

    def opened(self, unit: str) -> object:
        """Return all that `has_lost` takes into account of a socket."""
        return self._state(unit), self._systemd.properties(unit).get("ActiveEnterTimestampMonotonic")

    def has_lost(self, item: Instance, unit: str) -> bool:
        """True if the socket was closed or opened again while the instance ran: it accepts from one that is gone."""
        if item.state is not State.READY or self._state(unit) in ("activating", "deactivating"):
            return False
        opened = int(self._systemd.properties(unit).get("ActiveEnterTimestampMonotonic", 0))
        # The time of its process: the unit itself is active since before the last process died.
        service = self._systemd.properties(unit_name.instance(self._app, item.number))
        begun = int(service.get("ExecMainStartTimestampMonotonic", 0))
        return not self.is_open(unit) or opened > begun

    async def end(self, job: asyncio.Future[str]) -> str:
        """Wait until a job has ended, and return its result."""
        try:
            return await asyncio.wait_for(job, TIMEOUT)
        except TimeoutError:
            return "timeout"

    def _state(self, unit: str) -> str:
        return str(self._systemd.properties(unit).get("ActiveState"))

    async def _stop(self, unit: str) -> None:
        try:
            await self.end(await self._systemd.stop(unit))
            if self._state(unit) != "inactive":
                await self._systemd.reset_failed(unit)
        except SystemdError as error:
            log.debug("%s: %s, ignoring", unit, error)  # not loaded: nothing to stop


def _runs(state: UnitState | None) -> bool:
    """True if a unit is up or on its way, or has failed."""
    return state is not None and (state.active != "inactive" or bool(state.job))
