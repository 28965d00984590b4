"""The listeners of one address, among which the kernel selects: their array of sockets and their program."""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

from deployd.errors import steering_errors
from deployd.model.address import is_near
from deployd.reuseport import counting, program
from deployd.reuseport.listeners import borrowed
from deployd.reuseport.maps import Map, Maps
from deployd.reuseport.table import INSTANCES
from deployd.sockdiag.inet_diag import Listener

SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_EBPF = 50, 52
_LISTENS, _LISTENS_NOT = struct.pack("=Q", 1 << 63), bytes(8)
_LABEL = re.compile(r"sockets-([46])-([0-9a-f]{8}|[0-9a-f]{32})-([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Address:
    """What the listeners of a group have in common. A dual-stack [::] is one; 0.0.0.0 and an IPv6-only [::] are two."""

    family: int
    address: str
    port: int

    @classmethod
    def of(cls, listener: Listener) -> Address:
        return _address(listener.family, listener.address, listener.port)

    @classmethod
    def parse(cls, label: str) -> Address | None:
        """Return the address with this `label`, or None if it is not a label."""
        match = _LABEL.fullmatch(label)
        family = {"4": socket.AF_INET, "6": socket.AF_INET6}[match[1]] if match else 0
        if not match or len(match[2]) != (8 if family == socket.AF_INET else 32):
            return None
        return cls(family, socket.inet_ntop(family, bytes.fromhex(match[2])), int(match[3]))

    @property
    def near(self) -> bool:
        """True if the loopback device reaches it."""
        return is_near(self.address)

    @property
    def label(self) -> str:
        """Return a name for the address without ":" and "."."""
        packed = socket.inet_pton(self.family, self.address).hex()
        return f"sockets-{6 if self.family == socket.AF_INET6 else 4}-{packed}-{self.port}"


@lru_cache(maxsize=256)
def _address(family: int, address: str, port: int) -> Address:
    """Return one object for all listeners of an address, because an app may have hundreds of them."""
    return Address(family, address, port)


class Group:
    """Owns the array of sockets and the program. The program stays attached when the group is closed."""

    def __init__(self, maps: Maps, *, known: bool, least_busy: bool, members: int) -> None:
        """`known`: the array of sockets may have listeners already. For the others see :meth:`load`. Raises
        SteeringError."""
        self.sockets: Map = maps.sockets
        self.uncounted: dict[int, str] = {}
        """Why the filter that counts could not be attached to a listener in the last `sync`, by instance."""
        self._maps = maps
        self.cookies: dict[int, int] = {}
        """The cookie of the listener that was put in the array for each instance; one that is closed leaves it."""
        with steering_errors("read the kernel's array of listeners"):
            for instance in range(1, INSTANCES) if known else ():
                if cookie := int.from_bytes(self.sockets.get(instance), sys.byteorder):
                    self.cookies[instance] = cookie
                    maps.listening[instance] = _LISTENS
        self._program = program.load(maps, least_busy=least_busy, members=members)
        self.attached = False
        """The program has been attached to a listener."""

    def load(self, *, least_busy: bool, members: int) -> None:
        """Have another program select, from the next `sync` on. Raises SteeringError.

        `least_busy`: loads count. `members`: how many of a group it compares."""
        made = program.load(self._maps, least_busy=least_busy, members=members)
        os.close(self._program)
        self._program = made
        self.attached = False

    def sync(self, wanted: Mapping[int, Listener], pid: int, fresh: Collection[int]) -> set[int]:
        """Put the listener of each instance in the array and remove all others. Return those that have to wait.

        `fresh`: instances whose listeners need the filter although they may be in the array. Raises SteeringError.
        """
        self.uncounted = {}
        with steering_errors("write the kernel's array of listeners"):
            for instance in self.cookies.keys() - wanted.keys():
                self._maps.listening[instance] = _LISTENS_NOT
                self.sockets.discard(instance)
                del self.cookies[instance]
        absent = {instance: one for instance, one in wanted.items() if self.cookies.get(instance) != one.cookie}
        touched = {**absent, **{instance: wanted[instance] for instance in fresh if instance in wanted}}
        # One listener suffices to replace the program that an earlier daemon attached.
        touched = touched if touched or self.attached else dict(list(wanted.items())[:1])
        with borrowed({one.inode for one in touched.values()}, pid) as sockets:
            waiting = set()
            for instance, one in touched.items():
                fd = sockets.get(one.inode)
                if fd is None or not self._put(instance, one, fd, uncounted=instance in absent or instance in fresh):
                    waiting.add(instance)
        return waiting

    def close(self) -> None:
        os.close(self._program)
        self.sockets.close()
        self._maps.listening.close()

    def _put(self, instance: int, one: Listener, fd: int, *, uncounted: bool) -> bool:
        with socket.socket(fileno=os.dup(fd)) as listener:
            if uncounted:
                self._count(instance, listener)
            with steering_errors("attach the steering program to a listener"):
                # Each time, because a group whose listeners were all replaced is a new one without a program.
                listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, self._program)
        self.attached = True
        if self.cookies.get(instance) != one.cookie:
            try:
                self.sockets[instance] = struct.pack("=Q", fd)
            except OSError as error:
                if error.errno == errno.EBUSY:
                    return False
                with steering_errors("put a listener into the kernel's array"):
                    raise
            self.cookies[instance] = one.cookie
            with steering_errors("write the kernel's array of listeners"):
                self._maps.listening[instance] = _LISTENS
        return True

    def _count(self, instance: int, listener: socket.socket) -> None:
        """Attach the filter to a listener. Accepted connections inherit it."""
        try:
            filter_fd = counting.load(instance, self._maps)
            try:
                listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_BPF, filter_fd)
            finally:
                os.close(filter_fd)
        except OSError as error:
            # EPERM if the app has locked its filter (SO_LOCK_FILTER), or what else the kernel says.
            self.uncounted[instance] = os.strerror(error.errno or 0)
