"""Waits until an instance that gets no new connections has nothing left to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping

from deployd.model import unit_name
from deployd.model.instance import State
from deployd.plan.idle_connections import Ending
from deployd.routing.backend import Notice
from deployd.routing.listeners import SHARED, Listeners
from deployd.routing.pacing import Pacing
from deployd.routing.passed_sockets import PassedSockets
from deployd.routing.socket_units import POLL
from deployd.routing.unix_sockets import UnixSockets
from deployd.systemd.manager import Systemd
from deployd.systemd.observe import STATES

LONGEST_POLL = 0.5
"""Seconds between two readings of open connections, some of which last for hours."""

HANDSHAKES = 3.0
"""Seconds that half-open handshakes may take. Most later ones are of clients that are gone; what is
left when a listener closes migrates to the others (BPF_SK_REUSEPORT_SELECT_OR_MIGRATE)."""


ACCEPTING = 3.0
"""Seconds for which connections may wait at an instance that has not accepted any other."""

SETTLED = 3
"""Readings in a row of an empty queue, after which nothing is on its way there any more."""


class Drain:
    """Waits for queues and connections of one app. Methods raise SteeringError.

    `unix`: the queue and the connections of the instance's UNIX socket count, because new ones go to another socket.
    """

    def __init__(
        self,
        app: str,
        systemd: Systemd,
        passed: PassedSockets,
        tcp: Listeners,
        unix: UnixSockets,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called when a wave of reconnecting clients begins or ends."""
        self._app = app
        self._systemd = systemd
        self._passed = passed
        self._tcp = tcp
        self._unix = unix
        self.pacing = Pacing(app, tcp, changed)

    async def emptied(self, number: int, limit: float, *, unix: bool) -> None:
        """Wait until no connection can be queued there any more: none waits, and handshakes that had begun are done."""
        self.pacing.note()
        listener = self._listener(number)
        unix = unix and self._passed.unix(number) is not None
        if unix:
            await asyncio.sleep(POLL)  # a client that resolved an address just before it moved may be about to connect
        begun, now = self._tcp.half_open(), time.monotonic()
        handshakes, end = now + min(HANDSHAKES, limit), now + limit
        served = now
        # A dead instance serves nothing; its queue goes to the others when the socket is closed.
        while now < end and self._accepts(number):
            begun &= self._tcp.half_open() if begun else begun
            queue = self._tcp.queues().get(listener, 0)
            waiting = queue or (unix and self._unix.reached([number]))
            if not waiting and (not begun or now > handshakes):
                return
            if not queue or self._connections(number, unix=False) > queue:
                served = now
            elif now > served + ACCEPTING:
                return  # all that it has are those that wait: it does not accept any
            await asyncio.sleep(POLL)
            now = time.monotonic()

    async def passed_on(self, number: int, limit: float) -> None:
        """Wait until the program of an instance with a port of its own has accepted what was passed on to it.

        What its proxy has just accepted takes moments to get there. Raises SystemdError as well.
        """
        end = time.monotonic() + min(limit, HANDSHAKES)
        settled = 0
        while settled < SETTLED and time.monotonic() < end:
            waiting = await self._tcp.unaccepted(number)
            if waiting is None:
                return
            settled = 0 if waiting else settled + 1
            await asyncio.sleep(POLL)

    async def ended(self, number: int, limit: float, notice: Notice | None, *, unix: bool) -> int:
        """Return the connections that the instance still has after `limit` seconds, or as soon as it has none.

        Its server is asked to close them by `notice`, before that time begins.
        """
        left = self._connections(number, unix=unix)
        if left and notice is not None:
            await notice(left)
            left = self._connections(number, unix=unix)
        end, pause = time.monotonic() + limit, POLL
        while left and (now := time.monotonic()) < end:
            await asyncio.sleep(min(pause, end - now))
            pause = min(2 * pause, LONGEST_POLL)
            left = self._connections(number, unix=unix)
        return left

    def connected(self, numbers: Collection[int]) -> Mapping[int, int | None]:
        """Return what Backend.connected() does. Raises SteeringError."""
        if not self._tcp.synced:
            return dict.fromkeys(numbers)  # the kernel may be distributing by hash
        listeners = {number: self._listener(number) for number in numbers}
        tcp, unix = self._tcp.connections(set(listeners.values())), self._unix.connections(numbers)
        counts = {number: tcp.get(listeners[number], 0) + unix.get(number, 0) for number in numbers}
        reached: dict[int, int | None] = dict.fromkeys(self._unix.reached(numbers))
        return reached | {number: count for number, count in counts.items() if count}

    async def close_idle(self, number: int, settle: float) -> Ending:
        """Close the connections of an instance if none of them is in use. Raises SteeringError, SystemdError."""
        if self.pacing.under_way:
            return Ending.WAIT
        if self._listener(number) != number:
            return Ending.IN_USE  # another instance may have those of a shared socket
        left = self._connections(number, unix=False)
        if self._connections(number, unix=self._passed.unix(number) is not None) > left:
            return Ending.IN_USE
        found = await self._tcp.close_idle(number)
        if found is Ending.CLOSE:
            self.pacing.begin(number, left, settle)
        return found

    def _connections(self, number: int, *, unix: bool) -> int:
        tcp = sum(self._tcp.connections([self._listener(number)]).values())
        return tcp + (self._unix.connections([number])[number] if unix else 0)

    def _listener(self, number: int) -> int:
        """Return the number under which the listeners are known from which the instance accepts. If they are shared, it
        is the last one that does."""
        return SHARED if number in self._passed.shared() else number

    def _accepts(self, number: int) -> bool:
        """True if a process takes connections from the queues of the instance."""
        state = str(self._systemd.properties(unit_name.instance(self._app, number)).get("ActiveState"))
        return STATES.get(state) is State.READY
