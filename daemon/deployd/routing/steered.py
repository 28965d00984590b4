"""Steered routing: deployd decides which instances get new connections, and the kernel distributes them.

Each instance has TCP listeners of its own, with weights that follow from the policy (plan/routing.py). All instances of
a generation accept from one UNIX socket, and UNIX addresses lead to that of one generation (plan/unix_routing.py).
Connections are accepted without the daemon: one that dies leaves weights and addresses as they are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from deployd.alarm import Alarm
from deployd.errors import SteeringError
from deployd.model import unit_name
from deployd.model.address import Address
from deployd.model.app import App, ListenKind, Routing
from deployd.model.instance import Instance, State
from deployd.model.instances import Instances
from deployd.model.rollout import Rollout
from deployd.model.steering import Load
from deployd.plan import pacing, unix_routing
from deployd.plan.idle_connections import Ending
from deployd.plan.routing import Candidate
from deployd.reuseport.listeners import cgroup_root
from deployd.routing import load_report, steered_addresses, unix_sockets
from deployd.routing.address_log import AddressLog
from deployd.routing.backend import Backend, Notice
from deployd.routing.balancer import Balancer
from deployd.routing.drain import HANDSHAKES, Drain
from deployd.routing.kernel import Kernel
from deployd.routing.listeners import SHARED, Listeners
from deployd.routing.mending import Mending
from deployd.routing.passed_sockets import PassedSockets
from deployd.routing.report import Report
from deployd.routing.shared_listeners import SharedListeners
from deployd.routing.snapshot import Snapshot
from deployd.routing.socket_units import POLL, TIMEOUT
from deployd.routing.unix_sockets import UnixSockets
from deployd.systemd.manager import Systemd

log = logging.getLogger(__name__)

RETRY = 1.0
"""Seconds until the next attempt after an error."""


class Steered(Backend):
    """Steers one app. `changed` is called when :meth:`update` is needed although no unit has changed."""

    def __init__(
        self, app: str, systemd: Systemd, kernel: Kernel, addresses: AddressLog, *, changed: Callable[[], None]
    ) -> None:
        self._app = app
        self._log = addresses
        self._systemd = systemd
        self._kernel = kernel
        self._changed = changed
        cgroups = cgroup_root() or Path("/sys/fs/cgroup")
        self._passed = PassedSockets(app, systemd)
        self.listeners = self._tcp = Listeners(app, systemd, kernel, self._passed, cgroups)
        self._shared = SharedListeners(app, systemd, kernel, self._passed, self._tcp, cgroups)
        self._unix = UnixSockets(app, systemd, self._passed, cgroups, changed)
        self._balancer = Balancer(app, self._tcp)
        self._drain = Drain(app, systemd, self._passed, self._tcp, self._unix, self._route)
        self._snapshot: Snapshot | None = None
        self._leaving: set[int] = set()
        self._made: dict[int, tuple[Instance, Candidate]] = {}
        """The candidates and what they were made from."""
        self._routed: list[Candidate] = []
        """The candidates when the policy was last applied."""
        self._mending = Mending(app, self._restart, ended=self._restarted)
        self._again = Alarm(changed)
        self._strays = Alarm(changed)

    async def update(self, snapshot: Snapshot) -> bool:
        self._snapshot = snapshot
        await self._update(snapshot)
        self._log.note(self.addresses())
        return False

    async def _update(self, snapshot: Snapshot) -> None:
        try:
            self._unix.serve(snapshot.settings, keep=snapshot.rollout is not None)
            read = await self._passed.update(snapshot.instances)
            await self._shared.update()
            await self._tcp.update(snapshot.instances, read)
            await self._unix.update(snapshot.instances, self._shared.opened)
            self._route()
            synced = self._tcp.sync()
            if wait := self._tcp.recounts.update(snapshot.instances):
                self._again.set(wait)
        except SteeringError as error:
            # The kernel continues with the weights that it has; no rollout waits for this.
            log.warning("%s: %s; trying again", self._app, error)
            self._again.set(RETRY)
            return
        if not synced:
            self._again.set(POLL)
            self._strays.set(HANDSHAKES)  # until then the kernel distributes by hash, also to frozen instances
        lost = self.unreachable()
        self._mending.update(lost, lost.keys() - self._leaving if snapshot.up else (), snapshot.settings)
        if self._routed:
            if kept := await self._tcp.close_unused():
                self._again.set(kept)
            await self._close_dead(snapshot)
        await self._unix.close_unused(snapshot.instances)

    def follow(self, rollout: Rollout) -> None:
        if self._snapshot is not None:
            self._snapshot = replace(self._snapshot, rollout=rollout)
            self._route()

    async def open(self, number: int) -> None:
        self._leaving.discard(number)
        await self._open(number)

    async def drain(self, number: int, settings: App, notice: Notice | None = None) -> int | None:
        self._leaving.add(number)
        if number not in self._shared and not self._is_reachable(number):
            return None
        self._route()
        others = [item.number for item in self._routed]
        if not others or (number in self._shared and SHARED in others):
            return None  # new connections wait for the next instance, or go to those with the same socket
        shared = self._accepts_new(number)
        try:
            await self._drain.emptied(number, settings.stop.timeout, unix=not shared)
            await self._drain.passed_on(number, settings.stop.timeout)
            left = await self._drain.ended(number, settings.drain.close_after, notice, unix=not shared)
            # Addresses that end with the instance are closed now: later connections are refused and do not wait.
            if self._tcp.alone(number, others):
                await self._tcp.end(number)
            if (socket := self._unix.ends_with(number, self._staying())) is not None:
                await self._unix.close(socket)
        except SteeringError as error:
            log.warning("%s: instance %d is stopped without a drain: %s", self._app, number, error)
            return None
        return None if shared else left

    async def pace(self, number: int, connections: int) -> None:
        await self._drain.pacing.turn(number, connections, self._settle)

    def _settle(self) -> float:
        return self._snapshot.settle if self._snapshot else 0.0

    def undrain(self, number: int) -> None:
        self._leaving.discard(number)

    async def close(self, number: int) -> None:
        if not self._candidates():
            return  # queued connections wait for the next instance that is started
        if self._passed.tcp(number) or self._passed.unix(number) is None:
            again = self._snapshot is not None and self._snapshot.has_more_to_start
            if not (again and self._tcp.keep(number)):
                await self._tcp.close(number)
        self._leaving.discard(number)

    def connected(self, numbers: Collection[int]) -> Mapping[int, int | None]:
        try:
            return self._drain.connected(numbers)
        except SteeringError as error:
            log.debug("%s: %s", self._app, error)
            return {}

    async def close_idle(self, number: int) -> Ending:
        try:
            return await self._drain.close_idle(number, self._settle())
        except SteeringError as error:
            log.debug("%s: %s", self._app, error)
            return Ending.IN_USE

    def loads(self) -> Mapping[int, Load]:
        return self._tcp.loads()

    def unread(self, numbers: Collection[int]) -> Mapping[int, Collection[float]]:
        return self._tcp.unread(numbers)

    def addresses(self) -> tuple[Address, ...]:
        if self._snapshot is None:
            return ()
        current, lost = self._unix.current(), self.unreachable()
        return steered_addresses.addresses(
            self._app,
            self._snapshot.settings.listen,
            up=self._snapshot.up,
            opened=self._tcp.numbers() - lost.keys() - {SHARED},
            lost=lost,
            generation=current if self._unix.is_open(current) else None,
            shared=self._shared.name,
        )

    def unreachable(self) -> dict[int, str]:
        """Return the instances that run without an open socket of theirs, and why."""
        return {number: self._mending.reason(number) for number in sorted(self._tcp.lost | self._unix.lost)}

    def report(self) -> Report:
        addresses, unreachable = self.addresses(), self.unreachable()
        return replace(self._steering(), routing=Routing.STEERED, addresses=addresses, unreachable=unreachable)

    def _steering(self) -> Report:
        instances = self._snapshot.instances if self._snapshot else ()
        if reason := self._tcp.reason:
            unsteered = f"deployd cannot change which instances get new connections: {reason}"
            return load_report.uncounted(self._tcp, Report(steering="none", reason=unsteered))
        if not self._tcp.numbers():
            return Report(steering="ebpf", weights=self._unix_weights())
        report = Report(
            steering="ebpf",
            weights=self._shared.spread(self._balancer.weights(), instances),
            shares=self._balancer.shares((*instances, *self._shared.members(instances))),
        )
        return load_report.with_loads(self._tcp, instances, report)

    def stop(self) -> None:
        self._again.close()
        self._strays.close()
        self._balancer.stop()
        self._drain.pacing.stop()
        self._mending.stop()
        self._shared.stop()
        self._tcp.stop()
        self._unix.stop()

    def leave(self) -> None:
        self.stop()
        self._kernel.forget(self._app)
        self._shared.leave()
        unix_sockets.forget(self._app)

    async def _open(self, number: int) -> None:
        await self._passed.read(number)
        tcp, socket = self._passed.tcp(number), self._passed.unix(number)
        if tcp:
            await self._tcp.open(number, self._tcp_addresses())
            with suppress(SteeringError):  # the next update tries again
                await self._tcp.join(number, self._tcp_addresses())
        if socket is not None:
            await self._unix.open(socket)

    def _accepts_new(self, number: int) -> bool:
        """True if new UNIX connections go to the socket from which the instance accepts."""
        socket = self._passed.unix(number)
        return socket is not None and socket == self._unix.current()

    async def _close_dead(self, snapshot: Snapshot) -> None:
        """Close the TCP sockets of dead instances so that the kernel migrates their queued connections to live ones."""
        others = Instances.of(snapshot.instances).others  # those that are down among them
        down = [item.number for item in others if item.state in (State.FAILED, State.INACTIVE)]
        down = [number for number in down if self._tcp.known(number) and number not in self._leaving]
        if not down:
            return
        try:
            queues = self._tcp.queues()
        except SteeringError as error:
            log.debug("%s: %s", self._app, error)
            return
        for number in down:
            if queues.get(number):
                log.info("%s: connections that wait for instance %d go to the others", self._app, number)
                await self._tcp.end(number)

    async def _restart(self, number: int, settings: App) -> None:
        """Restart an instance that has lost its sockets, after a drain. Raises SystemdError and TimeoutError."""
        await self.drain(number, settings)
        self._tcp.drop(number)
        await self._open(number)
        await asyncio.wait_for(await self._systemd.restart(unit_name.instance(self._app, number)), TIMEOUT)

    def _restarted(self, number: int) -> None:
        self._leaving.discard(number)
        self._changed()

    def _tcp_addresses(self) -> list[str]:
        listen = self._snapshot.settings.listen if self._snapshot is not None else ()
        return [item.address for item in listen if item.kind is ListenKind.TCP]

    def _route(self) -> None:
        """Apply the policy to the instances as they are."""
        if self._snapshot is None:
            return
        snapshot, ready = self._snapshot, self._ready()
        candidates = self._routed = self._reachable(ready, snapshot)
        policy = snapshot.policy(snapshot.generations(ready))
        tcp = [item for item in candidates if self._tcp.known(item.number)]
        if not snapshot.settle:
            self._drain.pacing.stop()  # what waits for a wave is in a hurry now
        tcp = pacing.ahead(tcp, policy) if self._drain.pacing.under_way else tcp
        sockets = self._passed.by_instance()
        down = snapshot.by_readiness(self._leaving) if sockets or not tcp else []
        known = [number for number in down if self._tcp.known(number)]
        rest = () if tcp else sorted(self._tcp.numbers() - set(known) - snapshot.previewed)
        self._balancer.balance(tcp, policy, (*known, *rest))
        if not sockets and not self._unix:
            return
        fallback = [sockets[number] for number in down if number in sockets]
        current = self._unix.current()
        first = unix_routing.leader(
            candidates,
            {number: socket for number, socket in sockets.items() if self._unix.is_open(socket)},
            current if current in fallback else None,
            policy,
            at_once=snapshot.at_once(policy),
            starting=[item.number for item in snapshot.instances if item.state is State.STARTING and not item.restarts],
        )
        self._unix.lead(fallback if first is None else (first, *fallback))

    def _candidates(self) -> list[Candidate]:
        """Return the instances that may get new connections."""
        return [] if self._snapshot is None else self._reachable(self._ready(), self._snapshot)

    def _reachable(self, ready: list[Instance], snapshot: Snapshot) -> list[Candidate]:
        own = [self._candidate(item, snapshot) for item in ready if self._is_reachable(item.number)]
        return [*own, *self._shared.candidates(ready, snapshot)]

    def _candidate(self, item: Instance, snapshot: Snapshot) -> Candidate:
        """Return the candidate of an instance, the same object as long as it stays the same."""
        generation, (of, known) = snapshot.generation(item), self._made.get(item.number, (None, None))
        if of is not item or known is None or known.generation != generation:
            known = Candidate(item.number, generation, item.started, item.ready_since)
            self._made[item.number] = item, known
        return known

    def _ready(self) -> list[Instance]:
        """Return the instances whose processes may get new connections."""
        if self._snapshot is None:
            return []
        out = self._leaving | self._snapshot.unanswered | self._snapshot.previewed | self._tcp.lost | self._unix.lost
        return [item for item in self._snapshot.instances if item.state is State.READY and item.number not in out]

    def _is_reachable(self, number: int) -> bool:
        """True if a socket of the instance is open."""
        return self._tcp.known(number) or self._unix.is_open(self._passed.unix(number))

    def _staying(self) -> list[int]:
        """Return the instances that are not about to stop."""
        instances = self._snapshot.instances if self._snapshot else ()
        return [item.number for item in instances if item.is_up and item.number not in self._leaving]

    def _unix_weights(self) -> dict[int, float]:
        """Return the weights of an app that has UNIX addresses only: all instances of one generation have the same."""
        sockets, current = self._passed.by_instance(), self._unix.current()
        serving = {item.number for item in self._candidates() if sockets.get(item.number) == current}
        return {number: round(100 / len(serving), 2) if number in serving else 0.0 for number in sockets}
