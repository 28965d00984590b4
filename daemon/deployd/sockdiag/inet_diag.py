"""TCP sockets as the kernel reports them: listeners and their queues, handshakes, connections (sock_diag(7)).

IPv4 connections of a dual-stack [::] listener are AF_INET6 sockets here, so each request is made for both families.
Structures and numbers: the kernel's include/uapi/linux/inet_diag.h.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from deployd.errors import steering_errors
from deployd.model.traffic import Traffic
from deployd.sockdiag import netlink

_BYTECODE = 1
_INFO, _SKV6ONLY, _CGROUP_ID = 2, 11, 21
_CONDITION_JUMP, _CONDITION_CGROUP = 1, 13

_REQUEST = struct.Struct("=BBBBI")  # family, protocol, extensions, nothing, states; then an identity
_IDENTITY = struct.Struct("!HH16s16s")  # local port, remote port, local address, remote address
_IDENTITY_REST = struct.Struct("=IQ")  # interface, cookie
_RESPONSE = struct.Struct("=BBBB")  # family, state, timer, retransmits; then an identity
_FIGURES = struct.Struct("=IIIII")  # expires, receive queue, send queue, user, inode

_TIMES = struct.Struct("=I4xI")
"""Milliseconds since data was sent and received, in struct tcp_info (linux/tcp.h) from byte 44 on."""
_TIMES_AT = 44

_FIGURES_AT = _RESPONSE.size + _IDENTITY.size + _IDENTITY_REST.size
_ATTRIBUTES_AT = _FIGURES_AT + _FIGURES.size


class State(IntEnum):
    """TCP states (tcp_states.h)."""

    ESTABLISHED = 1
    SYN_RECV = 3
    FIN_WAIT1 = 4
    FIN_WAIT2 = 5
    CLOSE_WAIT = 8
    LAST_ACK = 9
    LISTEN = 10
    CLOSING = 11


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket."""

    inode: int
    cookie: int
    """Its identifier in the kernel, never used again for another socket."""
    family: int
    address: str
    port: int
    v6only: bool
    cgroup: int
    """The cgroup in which it was created: systemd creates a socket in the cgroup of its unit. 0 without cgroup v2."""
    queue: int
    """Connections that wait to be accepted."""
    limit: int
    """How many may wait (listen(2))."""


Connection = tuple[str, int, str, int]
"""Local address and port, remote address and port."""


class Diag:
    """Sends requests to the kernel; `timeout` (seconds) is for one response. Every method raises SteeringError."""

    def __init__(self, timeout: float = 2.0) -> None:
        self._timeout = timeout

    def listeners(self, port: int = 0, cgroups: Collection[int] = ()) -> list[Listener]:
        """Return the listeners in this network namespace, or those of one port, or that were created in `cgroups`."""
        condition = _of_cgroups(cgroups) if cgroups else b""
        return [_listener(item) for item in self._sockets((State.LISTEN,), port, condition)]

    def queues(self, port: int, families: Collection[int]) -> dict[int, int]:
        """Return the connections that wait to be accepted at the listeners of one port, by inode.

        Cheap enough to be called every few milliseconds.
        """
        found = {}
        for family in families:
            with steering_errors("request the sockets of the kernel (sock_diag)"):
                for body in self._bodies(family, (State.LISTEN,), port, b""):
                    _, queue, _, _, inode = _FIGURES.unpack_from(body, _FIGURES_AT)
                    found[inode] = queue
        return found

    def half_open(self, ports: Collection[int]) -> frozenset[Connection]:
        """Return the handshakes that wait for the last packet of the client. The kernel does not report their
        listener."""
        return frozenset(
            (item.local, item.port, item.remote, item.remote_port)
            for port in set(ports)
            for item in self._sockets((State.SYN_RECV,), port)
        )

    def connections(self, cgroups: Collection[int]) -> dict[int, int]:
        """Return the number of connections of the listeners that were created in these cgroups.

        A connection counts from the end of its handshake, accepted or not, until the application has closed it. It does
        not count while the kernel still sends its data or waits (TIME_WAIT): the end of a process does no harm then.
        """
        if not cgroups:
            return {}
        found = Counter(
            item.cgroup
            for item in self._sockets(_CONNECTED, 0, _of_cgroups(cgroups))
            if item.inode or item.state in _OPEN
        )
        return {cgroup: found[cgroup] for cgroup in cgroups}

    def traffic(self, cgroups: Collection[int]) -> dict[int, Traffic]:
        """Return the connections of the listeners that were created in these cgroups, accepted or not, by inode; 0
        stands for one that was not accepted."""
        return {
            item.inode: _traffic(item, info)
            for item, info in self._with_info(cgroups, _CONNECTED)
            if item.inode or item.state == State.ESTABLISHED
        }

    def cookies(self, ports: Collection[int]) -> set[int]:
        """Return the cookies of all connections of these ports that the kernel has a socket of, accepted or not."""
        found = set()
        for port in set(ports):
            for family in (socket.AF_INET, socket.AF_INET6):
                with steering_errors("request the sockets of the kernel (sock_diag)"):
                    for body in self._bodies(family, (State.SYN_RECV, *_CONNECTED), port, b""):
                        _, cookie = _IDENTITY_REST.unpack_from(body, _RESPONSE.size + _IDENTITY.size)
                        found.add(cookie)
        return found

    def waiting(self, cgroup: int) -> tuple[frozenset[int], bool]:
        """Return the connections of the listeners that were created in a cgroup which wait to be accepted, as cookies,
        and whether others have been accepted."""
        found = [item for item in self._sockets(_CONNECTED, 0, _of_cgroups([cgroup])) if item.cgroup == cgroup]
        left = frozenset(item.cookie for item in found if not item.inode and item.state in _OPEN)
        return left, any(item.inode for item in found)

    def unaccepted(self, cgroup: int) -> int | None:
        """Return how many connections wait at the listeners that were created in a cgroup, None if there are none."""
        queues = [item.receive_queue for item in self._sockets((State.LISTEN,), 0, _of_cgroups([cgroup]))]
        return sum(queues) if queues else None

    def unread(self, cgroups: Collection[int]) -> dict[int, list[float]]:
        """Return for each connection on which data waits to be read, accepted or not, how long ago the last data
        arrived, in seconds, by the cgroup in which its listener was created."""
        found: dict[int, list[float]] = {cgroup: [] for cgroup in cgroups}
        for item, info in self._with_info(cgroups, _OPEN):
            # The end of the client's data counts as one byte until it is read.
            if item.receive_queue > (item.state == State.CLOSE_WAIT):
                found[item.cgroup].append(_traffic(item, info).received)
        return found

    def _with_info(self, cgroups: Collection[int], states: Collection[State]) -> Iterator[tuple[_Socket, bytes]]:
        """Yield the connections of the listeners that were created in these cgroups, with their struct tcp_info."""
        condition = _of_cgroups(cgroups)
        for family in (socket.AF_INET, socket.AF_INET6) if cgroups else ():
            with steering_errors("request the sockets of the kernel (sock_diag)"):
                for body in netlink.dump(_request(family, states, 0, condition, _INFO), self._timeout):
                    if (item := _Socket.parse(body)).cgroup in cgroups:
                        yield item, netlink.attributes(body, _ATTRIBUTES_AT).get(_INFO, b"")

    def _sockets(self, states: Collection[State], port: int, condition: bytes = b"") -> Iterator[_Socket]:
        for family in (socket.AF_INET, socket.AF_INET6):
            with steering_errors("request the sockets of the kernel (sock_diag)"):
                yield from self._dump(family, states, port, condition)

    def _dump(self, family: int, states: Collection[State], port: int, condition: bytes) -> Iterator[_Socket]:
        return map(_Socket.parse, self._bodies(family, states, port, condition))

    def _bodies(self, family: int, states: Collection[State], port: int, condition: bytes) -> Iterator[bytes]:
        return netlink.dump(_request(family, states, port, condition), self._timeout)


_OPEN = (State.ESTABLISHED, State.CLOSE_WAIT)
_CONNECTED = (State.ESTABLISHED, State.FIN_WAIT1, State.FIN_WAIT2, State.CLOSE_WAIT, State.LAST_ACK, State.CLOSING)


class _Socket(NamedTuple):
    """A socket in a response (struct inet_diag_msg)."""

    family: int
    state: int
    local: str
    port: int
    remote: str
    remote_port: int
    cookie: int
    receive_queue: int
    send_queue: int
    inode: int
    cgroup: int
    v6only: bool

    @classmethod
    def parse(cls, body: bytes) -> _Socket:
        family, state, _, _ = _RESPONSE.unpack_from(body)
        port, remote_port, local, remote = _IDENTITY.unpack_from(body, _RESPONSE.size)
        _, cookie = _IDENTITY_REST.unpack_from(body, _RESPONSE.size + _IDENTITY.size)
        _, receive_queue, send_queue, _, inode = _FIGURES.unpack_from(body, _FIGURES_AT)
        attributes = netlink.attributes(body, _ATTRIBUTES_AT)
        return cls(
            family=family,
            state=state,
            local=_address(family, local),
            port=port,
            remote=_address(family, remote),
            remote_port=remote_port,
            cookie=cookie,
            receive_queue=receive_queue,
            send_queue=send_queue,
            inode=inode,
            cgroup=int.from_bytes(attributes.get(_CGROUP_ID, b""), sys.byteorder),
            v6only=any(attributes.get(_SKV6ONLY, b"")),
        )


def _listener(item: _Socket) -> Listener:
    return Listener(
        inode=item.inode,
        cookie=item.cookie,
        family=item.family,
        address=item.local,
        port=item.port,
        v6only=item.v6only,
        cgroup=item.cgroup,
        queue=item.receive_queue,
        limit=item.send_queue,
    )


def traffic(info: bytes, *, queued: bool) -> Traffic | None:
    """Return the traffic of a connection from its struct tcp_info; None if the kernel did not report it."""
    if len(info) < _TIMES_AT + _TIMES.size:
        return None
    sent, received = _TIMES.unpack_from(info, _TIMES_AT)
    return Traffic(sent / 1e3, received / 1e3, queued=queued)


def _traffic(item: _Socket, info: bytes) -> Traffic:
    unknown = Traffic(0.0, 0.0, queued=True)
    return traffic(info, queued=bool(item.receive_queue or item.send_queue or not item.inode)) or unknown


def _address(family: int, packed: bytes) -> str:
    return socket.inet_ntop(family, packed[:4] if family == socket.AF_INET else packed)


def _request(family: int, states: Collection[State], port: int, condition: bytes, extension: int = 0) -> bytes:
    wanted = sum(1 << state for state in states)
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 1 << extension - 1 if extension else 0, 0, wanted)
    body += _IDENTITY.pack(port, 0, bytes(16), bytes(16)) + _IDENTITY_REST.pack(0, (1 << 64) - 1)
    if condition:
        body += netlink.attribute(_BYTECODE, condition)
    return body


def _of_cgroups(cgroups: Collection[int]) -> bytes:
    """Return a filter in the kernel's bytecode (struct inet_diag_bc_op) for the sockets of these cgroups.

    Each step has two distances in bytes from its beginning, for a condition that is met or not. A socket that arrives
    exactly at the end is reported, one that gets four bytes beyond is not.
    """
    steps = []
    ordered = sorted(set(cgroups))
    for place, cgroup in enumerate(ordered, start=1):
        left = _STEP * (len(ordered) - place)
        otherwise = _STEP if left else _STEP + 4
        steps.append(struct.pack("=BBHQ", _CONDITION_CGROUP, 12, otherwise, cgroup))
        steps.append(struct.pack("=BBH", _CONDITION_JUMP, 4, 4 + left))  # met: to the end
    return b"".join(steps)


_STEP = 16
