"""The listeners of one address, among which the kernel selects: their array of sockets and their program."""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from deployd.errors import steering_errors
from deployd.reuseport import program
from deployd.reuseport.listeners import borrowed
from deployd.reuseport.maps import Map
from deployd.reuseport.table import INSTANCES
from deployd.sockdiag.inet_diag import Listener

SO_ATTACH_REUSEPORT_EBPF = 52
_LABEL = re.compile(r"sockets-([46])-([0-9a-f]{8}|[0-9a-f]{32})-([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Address:
    """What the listeners of a group have in common. A dual-stack [::] is one; 0.0.0.0 and an IPv6-only [::] are two."""

    family: int
    address: str
    port: int

    @classmethod
    def of(cls, listener: Listener) -> Address:
        return cls(listener.family, listener.address, listener.port)

    @classmethod
    def parse(cls, label: str) -> Address | None:
        """Return the address with this `label`, or None if it is not a label."""
        match = _LABEL.fullmatch(label)
        family = {"4": socket.AF_INET, "6": socket.AF_INET6}[match[1]] if match else 0
        if not match or len(match[2]) != (8 if family == socket.AF_INET else 32):
            return None
        return cls(family, socket.inet_ntop(family, bytes.fromhex(match[2])), int(match[3]))

    @property
    def label(self) -> str:
        """Return a name for the address without ":" and "."."""
        packed = socket.inet_pton(self.family, self.address).hex()
        return f"sockets-{6 if self.family == socket.AF_INET6 else 4}-{packed}-{self.port}"


class Group:
    """Owns the array of sockets and the program. The program stays attached when the group is closed."""

    def __init__(self, maps: program.Maps, known: bool) -> None:
        """`known`: the array of sockets may have listeners already. Raises SteeringError."""
        self.sockets: Map = maps.sockets
        self._taken = set(range(1, INSTANCES)) if known else set()
        self._program = program.load(program.code(maps))
        self._attached = False

    def sync(self, wanted: Mapping[int, Listener], pid: int) -> set[int]:
        """Put the listener of each instance in the array and remove all others. Return those that have to wait.

        Raises SteeringError.
        """
        with steering_errors("read the kernel's array of listeners"):
            there = {instance: cookie for instance in self._taken if (cookie := self._cookie(instance))}
            for instance in there.keys() - wanted.keys():
                self.sockets.discard(instance)
        self._taken = there.keys() & wanted.keys()
        absent = {instance: one for instance, one in wanted.items() if there.get(instance) != one.cookie}
        # One listener suffices to replace the program that an earlier daemon attached.
        touched = absent if absent or self._attached else dict(list(wanted.items())[:1])
        with borrowed({one.inode for one in touched.values()}, pid) as sockets:
            waiting = set()
            for instance, one in touched.items():
                if not self._put(instance, sockets.get(one.inode), instance in absent):
                    waiting.add(instance)
        return waiting

    def close(self) -> None:
        os.close(self._program)
        self.sockets.close()

    def _put(self, instance: int, fd: int | None, absent: bool) -> bool:
        if fd is None:
            return False
        with steering_errors("attach the steering program to a listener"), socket.socket(fileno=os.dup(fd)) as listener:
            # Each time, because a group whose listeners were all replaced is a new one without a program.
            listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, self._program)
        self._attached = True
        if absent:
            try:
                self.sockets[instance] = struct.pack("=Q", fd)
            except OSError as error:
                if error.errno == errno.EBUSY:
                    return False
                with steering_errors("put a listener into the kernel's array"):
                    raise
            self._taken.add(instance)
        return True

    def _cookie(self, instance: int) -> int:
        return int.from_bytes(self.sockets.get(instance), sys.byteorder)
