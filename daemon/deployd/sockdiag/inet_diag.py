"""What the kernel tells of TCP sockets: listeners and their queues, handshakes, connections (sock_diag(7)).

IPv4 connections of a dual-stack [::] listener are AF_INET6 sockets here, so all is asked for both families.
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

from deployd.errors import steering_errors
from deployd.sockdiag import netlink

_BYTECODE = 1
_SKV6ONLY, _CGROUP_ID = 11, 21
_CONDITION_JUMP, _CONDITION_CGROUP = 1, 13

_QUESTION = struct.Struct("=BBBBI")  # family, protocol, extensions, nothing, states; then an identity
_IDENTITY = struct.Struct("!HH16s16s")  # local port, remote port, local address, remote address
_IDENTITY_REST = struct.Struct("=IQ")  # interface, cookie
_ANSWER = struct.Struct("=BBBB")  # family, state, timer, retransmits; then an identity
_FIGURES = struct.Struct("=IIIII")  # expires, receive queue, send queue, user, inode

_FIGURES_AT = _ANSWER.size + _IDENTITY.size + _IDENTITY_REST.size
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
    """The kernel's name for it, never used again for another one."""
    family: int
    address: str
    port: int
    v6only: bool
    cgroup: int
    """Of whom created it; systemd creates a socket in its unit's cgroup. 0 without cgroup v2."""
    queue: int
    """Connections that wait to be accepted."""
    limit: int
    """So many may wait (listen(2))."""


Connection = tuple[str, int, str, int]
"""Local address and port, remote address and port."""


class Diag:
    """Asks the kernel; `timeout` (seconds) is for one answer. Every question raises SteeringError."""

    def __init__(self, timeout: float = 2.0) -> None:
        self._timeout = timeout

    def listeners(self, port: int | None = None) -> list[Listener]:
        """Those in our network namespace, or those of one port."""
        return [_listener(item) for item in self._ask((State.LISTEN,), port or 0)]

    def queues(self, port: int, families: Collection[int]) -> dict[int, int]:
        """Connections that wait to be accepted at the listeners of one port, by inode: cheap enough for every tick."""
        found = {}
        for family in families:
            with steering_errors("ask the kernel for its sockets (sock_diag)"):
                for body in self._bodies(family, (State.LISTEN,), port, b""):
                    _, queue, _, _, inode = _FIGURES.unpack_from(body, _FIGURES_AT)
                    found[inode] = queue
        return found

    def half_open(self, ports: Collection[int]) -> frozenset[Connection]:
        """Handshakes that wait for the client's last word. The kernel does not tell by which listener."""
        return frozenset(
            (item.local, item.port, item.remote, item.remote_port)
            for port in set(ports)
            for item in self._ask((State.SYN_RECV,), port)
        )

    def connections(self, cgroups: Collection[int]) -> dict[int, int]:
        """How many connections there are of the listeners that were created in these cgroups.

        A connection counts from the end of its handshake, accepted or not, until the application has closed it. What
        the kernel still sends of a closed one, and TIME_WAIT, do not count: nobody's end can harm them.
        """
        if not cgroups:
            return {}
        found = Counter(
            item.cgroup
            for item in self._ask(_HELD, 0, _of_cgroups(cgroups))
            if item.inode or item.state in (State.ESTABLISHED, State.CLOSE_WAIT)
        )
        return {cgroup: found[cgroup] for cgroup in cgroups}

    def _ask(self, states: Collection[State], port: int, condition: bytes = b"") -> Iterator[_Socket]:
        for family in (socket.AF_INET, socket.AF_INET6):
            with steering_errors("ask the kernel for its sockets (sock_diag)"):
                yield from self._dump(family, states, port, condition)

    def _dump(self, family: int, states: Collection[State], port: int, condition: bytes) -> Iterator[_Socket]:
        return map(_Socket.parse, self._bodies(family, states, port, condition))

    def _bodies(self, family: int, states: Collection[State], port: int, condition: bytes) -> Iterator[bytes]:
        return netlink.dump(_question(family, states, port, condition), self._timeout)


_HELD = (State.ESTABLISHED, State.FIN_WAIT1, State.FIN_WAIT2, State.CLOSE_WAIT, State.LAST_ACK, State.CLOSING)


@dataclass(frozen=True, slots=True)
class _Socket:
    """One answer (struct inet_diag_msg)."""

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
        family, state, _, _ = _ANSWER.unpack_from(body)
        port, remote_port, local, remote = _IDENTITY.unpack_from(body, _ANSWER.size)
        _, cookie = _IDENTITY_REST.unpack_from(body, _ANSWER.size + _IDENTITY.size)
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


def _address(family: int, packed: bytes) -> str:
    return socket.inet_ntop(family, packed[:4] if family == socket.AF_INET else packed)


def _question(family: int, states: Collection[State], port: int, condition: bytes) -> bytes:
    wanted = sum(1 << state for state in states)
    body = _QUESTION.pack(family, socket.IPPROTO_TCP, 0, 0, wanted)
    body += _IDENTITY.pack(port, 0, bytes(16), bytes(16)) + _IDENTITY_REST.pack(0, (1 << 64) - 1)
    if condition:
        body += netlink.attribute(_BYTECODE, condition)
    return body


def _of_cgroups(cgroups: Collection[int]) -> bytes:
    """The kernel's own little language (struct inet_diag_bc_op), so that it tells of these cgroups' sockets only.

    Each step says where to go on, in bytes from its beginning: the condition met, or not. Who arrives exactly at the
    end is told of, who goes four bytes beyond is not.
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
