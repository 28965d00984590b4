"""Why clients may not reach an address: other processes listen there, or no interface has it."""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from deployd.config import overlap
from deployd.errors import SteeringError
from deployd.model import advice
from deployd.model.app import App, Listen, ListenKind
from deployd.reuseport.listeners import cgroup_id, cgroup_root
from deployd.sockdiag import holders
from deployd.sockdiag.inet_diag import Diag, Listener

FRESH = 0.05
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Occupant:
    """A process that listens at an address."""

    address: str
    inode: int
    pid: int
    name: str
    unit: str
    """The unit of the process, or the socket unit for which systemd has the address open; "" if it is not known."""

    def __str__(self) -> str:
        process = f"{self.name} (PID {self.pid})" if self.pid != 1 else "systemd"
        return f"{self.address} is used by {process}{f' of {self.unit}' if self.unit else ''}"


def occupants(addresses: Iterable[str], proc: Path = Path("/proc")) -> list[Occupant]:
    """Return the processes that listen at these addresses, or where a socket at one would conflict with theirs.

    Blocks: it reads the descriptors of all processes. An empty list may mean that they cannot be read. There are none
    at a path, where systemd replaces the socket. A socket that systemd has open is systemd's alone, also if it was
    passed to a process.
    """
    return [found for address in addresses if not address.startswith("/") for found in _at(address, proc)]


def refusal(unit: str, addresses: Iterable[str], result: str, found: Iterable[Occupant]) -> str:
    """Return why a socket unit could not be opened, from the result of its job and the occupants of its addresses."""
    if in_use := list(dict.fromkeys(map(str, found))):
        return f"{unit} could not listen: {'; '.join(in_use)}"
    if away := [address for address in addresses if not is_local(address)]:
        return f"{unit} could not listen: no interface of this machine has {' or '.join(away)}"
    return f"{unit} could not listen (its start job ended with {result}); see {advice.journalctl()} -u {unit}"


def _at(address: str, proc: Path) -> list[Occupant]:
    try:
        cgroups = _tcp(address)
        found = holders.processes(cgroups.keys(), proc) if cgroups else []
    except SteeringError:
        return []
    of_systemd = {inode for inode, pid in found if pid == 1}
    return [
        Occupant(
            address,
            inode,
            pid,
            _read(proc / str(pid) / "comm"),
            _unit_of_cgroup(cgroups[inode]) if pid == 1 else _unit_of(proc / str(pid) / "cgroup"),
        )
        for inode, pid in found
        # A child of systemd has all of systemd's descriptors until it executes a program, whatever it was forked for.
        if pid == 1 or inode not in of_systemd
    ]


def is_local(address: str) -> bool:
    """True if an interface of this machine has the address, now; also for paths and wildcards."""
    host = address.rpartition(":")[0].strip("[]")
    if address.startswith("/") or not host:
        return True
    if ":" not in host:
        return _binds(socket.AF_INET, (host, 0))
    scopes = [number for number, _ in socket.if_nameindex()] if _is_scoped(address) else [0]
    return any(_binds(socket.AF_INET6, (host, 0, 0, scope)) for scope in scopes)


def is_on_interface(address: str) -> bool:
    """Return what `is_local` does, at most FRESH old: each turn of a control loop asks several times."""
    return _is_local_in(address, int(time.monotonic() / FRESH))


@lru_cache(maxsize=64)
def _is_local_in(address: str, _time: int) -> bool:
    return is_local(address)


def _is_scoped(address: str) -> bool:
    """True for an IPv6 link-local address, which can be bound on a named interface only (ipv6(7))."""
    return address.startswith("[") and ipaddress.IPv6Address(address.rpartition(":")[0].strip("[]")).is_link_local


def _binds(family: socket.AddressFamily, address: tuple[str, int] | tuple[str, int, int, int]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True


def away(app: App, file: Path) -> Iterator[str]:
    """Yield a sentence for each address in the app file that clients cannot reach now: a typing error, perhaps."""
    refuses = dict(app.socket).get("FreeBind", ("yes",))[-1].lower() in ("0", "no", "n", "false", "f", "off")
    then = (
        "with FreeBind = false the socket opens only once the address is there"
        if refuses
        else "the socket will be open, but clients reach it only once the address is there"
    )
    for item in app.listen:
        where = f'{file}: listen: "{item.address}"'
        if _is_scoped(item.address) and "BindToDevice" not in dict(app.socket):
            yield f"{where} is link-local: no socket opens there without BindToDevice in [socket]"
        elif not is_local(item.address):
            yield f"{where} is on no interface of this machine now; {then}"


def _tcp(address: str) -> dict[int, int]:
    """Return the inode and the cgroup of each listener with which a socket at `address` would conflict."""
    mine = overlap.claim(Listen(ListenKind.TCP, address), (), only6=overlap.ipv6_only())
    listeners = Diag().listeners(int(address.rpartition(":")[2]))
    return {item.inode: item.cgroup for item in listeners if overlap.conflict(mine, _claim(item))}


def _claim(listener: Listener) -> overlap.Claim:
    host = ipaddress.ip_address(listener.address)
    bracketed = f"[{host}]" if host.version == 6 else str(host)
    return overlap.claim(Listen(ListenKind.TCP, f"{bracketed}:{listener.port}"), (), only6=listener.v6only)


def _unit_of(file: Path) -> str:
    """Return the unit in a file /proc/PID/cgroup (cgroups(7))."""
    parts = [part for part in _read(file).rpartition("::")[2].split("/") if part]
    return next((part for part in reversed(parts) if part.endswith((".service", ".scope", ".socket"))), "")


def _unit_of_cgroup(number: int) -> str:
    """Return the socket unit whose cgroup has this number."""
    return next((path.name for path in _cgroups() if cgroup_id(path) == number), "") if number else ""


def _cgroups() -> Iterator[Path]:
    root = cgroup_root()
    for directory, names, _ in os.walk(root) if root is not None else ():
        yield from (Path(directory) / name for name in names if name.endswith(".socket"))


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:  # the process has ended
        return ""
