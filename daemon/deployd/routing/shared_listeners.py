"""The shared sockets of an app whose routing changes: instances with sockets of their own run alongside its others.

All of them listen at the same addresses. The listeners of the shared sockets take part in steering as if they were
those of one more instance, for all instances that accept from them: :data:`deployd.routing.listeners.SHARED`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from deployd.errors import SteeringError
from deployd.model.instance import Instance, State
from deployd.plan.routing import Candidate
from deployd.reuseport import listeners
from deployd.reuseport.listeners import by_instance
from deployd.routing.kernel import Kernel
from deployd.routing.listeners import SHARED, Listeners
from deployd.routing.passed_sockets import PassedSockets
from deployd.routing.snapshot import Snapshot
from deployd.routing.socket_units import SocketUnits
from deployd.sockdiag.inet_diag import Listener
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import SOCKET

log = logging.getLogger(__name__)


class SharedListeners:
    """`NAME.socket`, `NAME:2.socket` and so on of one app, as far as instances accept from them."""

    def __init__(
        self, app: str, systemd: Systemd, kernel: Kernel, passed: PassedSockets, tcp: Listeners, cgroups: Path
    ) -> None:
        self._app = app
        self._systemd = systemd
        self._diag = kernel.diag
        self._passed = passed
        self._tcp = tcp
        self._cgroups = cgroups
        self._units = SocketUnits(app, systemd)
        self._open: dict[str, object] = {}
        """Each open socket and its invocation."""
        self._found: list[Listener] = []

    def __contains__(self, number: int) -> bool:
        return number in self._passed.shared()

    @property
    def opened(self) -> Mapping[str, object]:
        """Return the open sockets, each with its invocation."""
        return self._open

    @property
    def name(self) -> str:
        """Return the first open socket, or "" if there is none."""
        return min(self._open, default="")

    async def update(self) -> None:
        """Read which sockets are open. Raises SystemdError and SteeringError."""
        wanted = frozenset[str]().union(*self._passed.shared().values())
        for unit in self._open.keys() - wanted:
            self._systemd.unwatch(unit)
        for unit in wanted:
            await self._systemd.watch(unit)
        found = {unit: self._units.invocation(unit) for unit in sorted(wanted) if self._units.is_open(unit)}
        if found == self._open:
            return
        places = {}
        for count, unit in enumerate(found):
            properties = await self._systemd.read(unit, SOCKET, ["ControlGroup"])
            places[count] = self._cgroups / str(properties["ControlGroup"]).lstrip("/")
        self._found = [item for items in by_instance(self._diag, places).values() for item in items]
        listeners.share_ports([item.inode for item in self._found])
        self._tcp.share(found, self._found)
        self._open = found

    def candidates(self, ready: Iterable[Instance], snapshot: Snapshot) -> list[Candidate]:
        """Return the candidate that stands for the instances among `ready` that accept from the shared sockets, if
        there are any: of the preferred generation, or of their newest."""
        mine = [item for item in ready if item.number in self] if self._tcp.known(SHARED) else []
        if not mine:
            return []
        prefer = snapshot.policy({}).prefer
        generation = max((snapshot.generation(item) or 0 for item in mine), key=lambda made: (made == prefer, made))
        started, since = min(item.started for item in mine), min(item.ready_since for item in mine)
        return [Candidate(SHARED, generation or None, started, since)]

    def members(self, instances: Iterable[Instance]) -> list[Instance]:
        """Return the instance that stands for those that accept from the shared sockets, if there are any."""
        made = [item.generation for item in instances if item.number in self and item.generation is not None]
        return [Instance(SHARED, max(made), State.READY)] if made and self._tcp.known(SHARED) else []

    def spread(self, weights: dict[int, float], instances: Sequence[Instance]) -> dict[int, float]:
        """Return the weights with that of the shared sockets in equal parts for the instances that accept from them."""
        mine = [item.number for item in instances if item.state is State.READY and item.number in self]
        weight = weights.get(SHARED, 0.0)
        own = {number: share for number, share in weights.items() if number != SHARED}
        return own | {number: round(weight / len(mine), 2) for number in mine}

    def stop(self) -> None:
        """Stop watching. The kernel continues to steer."""
        for unit in self._open:
            self._systemd.unwatch(unit)

    def leave(self) -> None:
        """Detach the program: the app is no longer steered."""
        try:
            listeners.detach([item.inode for item in self._found])
        except SteeringError as error:
            log.warning("%s: %s", self._app, error)
