"""What is at a UNIX address: a symlink while an app is steered, and otherwise the socket that its instances share.

It is changed by commands in units: the daemon may write to its own directories only. Each change is one rename(2), so a
client finds the old socket or the new one, never nothing.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterable, Sequence

from deployd.errors import SystemdError
from deployd.model import unit_name
from deployd.model.address import set_aside
from deployd.systemd.manager import Systemd
from deployd.units.text import socket_paths

TIMEOUT = 30.0
"""Seconds that a command may take."""


class UnixAddresses:
    """The UNIX addresses of the app `name`. Methods raise SystemdError if a command fails."""

    def __init__(self, name: str, systemd: Systemd) -> None:
        self._name = name
        self._systemd = systemd

    async def put_back(self, address: str) -> None:
        """Make the symlink at an address again, from which something has removed it."""
        await self._run("address", f"puts {address} back", [["/bin/ln", "-sT", self._link(address), address]])

    async def lead_over_links(self, addresses: Sequence[str]) -> None:
        """Replace the shared sockets at these addresses by symlinks to the links of a steered app. Each socket gets a
        second name, :func:`set_aside`, to which the link is to lead."""
        commands = []
        for address in addresses:
            commands.append(["/bin/ln", "-fT", address, set_aside(address)])
            commands.append(["/bin/ln", "-sfT", self._link(address), address])
        await self._run("address-links", f"makes a symlink of {' '.join(addresses)}", commands)

    async def lead_to_shared(self, addresses: Sequence[str]) -> None:
        """Replace the symlinks at these addresses by the shared sockets next to them, which keep both names."""
        commands = [["/bin/ln", "-fT", set_aside(address), address] for address in addresses]
        await self._run("address-shared", f"puts its shared sockets at {' '.join(addresses)}", commands)

    async def clear(self, addresses: Sequence[str]) -> None:
        """Remove the second names of shared sockets."""
        names = [*map(set_aside, addresses)]
        await self._run("address-clear", f"removes {' '.join(names)}", [["/bin/rm", "-f", *names]])

    def _link(self, address: str) -> str:
        return socket_paths.link(self._name, address)

    async def _run(self, label: str, what: str, commands: Iterable[Sequence[str]]) -> None:
        escaped = [[word.replace("$", "$$") for word in words] for words in commands]
        properties = {
            "Description": ("s", f"{self._name}: {what}"),
            "Type": ("s", "oneshot"),
            "CollectMode": ("s", "inactive-or-failed"),
            "ExecStart": ("a(sasb)", [[words[0], words, False] for words in escaped]),
        }
        job = await self._systemd.start_transient(unit_name.labelled(self._name, label), properties)
        try:
            result = await asyncio.wait_for(job, TIMEOUT)
        except TimeoutError:
            result = "timeout"
        if result != "done":
            raise SystemdError(f"the unit that {what} ended with the result {result}")


def is_link(address: str) -> bool:
    """True if there is a symlink at the address."""
    return os.path.islink(address)  # noqa: PTH114 - called often


def is_socket(address: str) -> bool:
    """True if there is a socket at the address itself."""
    try:
        return stat.S_ISSOCK(os.lstat(address).st_mode)
    except OSError:
        return False
