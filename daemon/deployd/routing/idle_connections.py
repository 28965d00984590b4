"""Closes idle connections of an instance that is about to be frozen, as its server would after a keep-alive timeout.

Each connection is duplicated from the process that has it (pidfd_getfd(2)) and shut down: the client gets FIN, and the
server reads the end, as if the client had closed. SOCK_DESTROY would send RST, and needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Collection
from pathlib import Path

from deployd.plan.idle_connections import Ending, ending
from deployd.reuseport.listeners import borrowed
from deployd.sockdiag import holders, inet_diag
from deployd.sockdiag.inet_diag import Diag

_TCP_INFO_SIZE = 104
"""Bytes of struct tcp_info since Linux 3.15; later fields are not used."""


def close(diag: Diag, listeners: Collection[int], cgroup: Path) -> Ending:
    """Close all TCP connections of an instance if none is in use, and return what was found.

    `listeners`: the cgroups in which its listeners were created, `cgroup` that of its processes. Raises SteeringError.
    """
    found = diag.traffic(listeners)
    result = ending(found.values())
    if result is not Ending.CLOSE:
        return result
    left = set(found)
    for process in holders.processes_of(cgroup):
        if not left:
            break
        with borrowed(left, int(process)) as fds:
            if any(not _shut_down(fd) for fd in fds.values()):
                return Ending.IN_USE
            left -= fds.keys()
    return Ending.CLOSE


def _shut_down(fd: int) -> bool:
    """Shut a connection down, unless it came into use meanwhile."""
    with socket.socket(fileno=os.dup(fd)) as connection:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        traffic = inet_diag.traffic(info, queued=False)
        if traffic is None or ending([traffic]) is not Ending.CLOSE:
            return False
        with contextlib.suppress(OSError):  # its client has closed it
            connection.shutdown(socket.SHUT_RDWR)
        return True
