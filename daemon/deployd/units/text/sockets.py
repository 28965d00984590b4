"""The shared sockets of an app: which unit has which listening address, before and after `listen` has changed.

systemd closes a socket whose unit is edited and cannot open it again while the app is up. Therefore a unit keeps its
addresses: those that are still wanted stay as they are, new addresses are opened by another unit, and a unit is removed
when no instance holds its sockets any more. NAME.socket is the first unit, later ones are NAME:2.socket, NAME:3.socket
and so on.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from deployd.errors import Refused
from deployd.model import advice, unit_name
from deployd.model.address import address_of, set_aside
from deployd.units.text import escape, socket_paths

_STREAM = re.compile(r"ListenStream=(.*)")
_HELD = re.compile(r"Sockets=(.*)")
_REUSE = "ReusePort=yes"
_CLEAN_UP = (
    """ExecStopPost=-/bin/sh -c 'rm -f "$$2"; [ -e "$$1" ] || [ "$$(readlink "$$1")" != "$$3" ] || rm -f "$$1"'"""
)
"""Removes what a shared socket has next to its address, and the address if that leads nowhere any more."""


@dataclass(frozen=True, slots=True)
class Socket:
    """A shared socket: the name of the unit, and the values of its ListenStream=."""

    name: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """What a change of the addresses means for the socket units."""

    kept: tuple[Socket, ...]
    """Installed units all of whose addresses are wanted."""
    new: Socket | None
    """The unit for the addresses that no installed unit has, in their order."""
    going: tuple[Socket, ...]
    """Installed units none of whose addresses is wanted."""

    @property
    def wanted(self) -> tuple[Socket, ...]:
        """Return the units that together have all wanted addresses."""
        return self.kept if self.new is None else (*self.kept, self.new)


def place(app_name: str, installed: Iterable[Socket], listen: Sequence[str], *, later: bool = False) -> Placement:
    """Return the placement of the addresses `listen`. `later`: the app is deployed, with other sockets than these.

    Raises Refused if only some addresses of a unit are wanted.
    """
    there = in_order(app_name, installed)
    wanted = {_same(address) for address in listen}
    kept = tuple(item for item in there if _addresses(item) <= wanted)
    going = tuple(item for item in there if not _addresses(item) & wanted)
    for item in there:
        if item not in kept and item not in going:
            raise Refused(_partly_wanted(app_name, item, wanted))
    open_already = {address for item in kept for address in _addresses(item)}
    rest = tuple(address for address in listen if _same(address) not in open_already)
    taken = {unit_name.shared_socket_count(app_name, item.name) for item in there}
    # The first name is used only if the app is not deployed: its service is the app unit, and while that is active the
    # socket cannot be opened (EBUSY).
    free = next(count for count in range(2, len(taken) + 3) if count not in taken) if taken or later else 1
    return Placement(kept, Socket(unit_name.shared_socket(app_name, free), rest) if rest else None, going)


def files(app_name: str, name: str) -> tuple[str, ...]:
    """Return the unit files that belong to a shared socket: the socket and, for later ones, the service it starts."""
    return (name,) if unit_name.shared_socket_count(app_name, name) == 1 else (name, unit_name.service_of(name))


def in_order(app_name: str, sockets: Iterable[Socket]) -> tuple[Socket, ...]:
    """Return the shared sockets of the app in the order of their numbers, without any others."""
    numbered = [
        (count, item) for item in sockets if (count := unit_name.shared_socket_count(app_name, item.name)) is not None
    ]
    return tuple(item for _, item in sorted(numbered, key=lambda pair: pair[0]))


def names_in_order(app_name: str, names: Collection[str]) -> tuple[str, ...]:
    """Return the names of the app's shared sockets in the order of their numbers, without any others."""
    return tuple(item.name for item in in_order(app_name, (Socket(name, ()) for name in names)))


def parse(name: str, text: str) -> Socket:
    """Return the socket from the text of its unit file, with the addresses for which it is open."""
    return Socket(name, tuple(map(address_of, _listening(text))))


@lru_cache(maxsize=64)  # nearly all instances have the same text
def held(app_name: str, text: str) -> frozenset[str]:
    """Return the shared sockets that are passed to an instance with this unit file."""
    return frozenset(name for name in _passed(text) if unit_name.shared_socket_count(app_name, name) is not None)


def has_own(app_name: str, text: str) -> bool:
    """True if an instance with this unit file is passed sockets of its own, or of its generation."""
    return any(unit_name.belongs_to_instances(app_name, name) for name in _passed(text))


def _passed(text: str) -> list[str]:
    """Return the sockets that are passed to an instance with this unit file."""
    found = (_HELD.fullmatch(line) for line in text.splitlines())
    return [name for match in found if match for name in match[1].split()]


def settings(text: str) -> list[str]:
    """Return the lines of [Socket] in a unit file that an open socket cannot change to."""
    # These matter only when it is opened or closed.
    others = "FreeBind=", "RemoveOnStop=", "ReusePort=", "ExecStopPost="
    found = [line for line in lines(text) if not line.startswith((*others, "ListenStream="))]
    return [*(f"ListenStream={address}" for address in parse("", text).addresses), *found]


def is_set_aside(text: str) -> bool:
    """True if a socket listens next to its UNIX addresses, which led to other sockets when it was opened."""
    return any(address_of(path) != path for path in _listening(text))


def alongside(app_name: str, text: str, *, elsewhere: bool) -> str:
    """Return the text of a shared socket whose addresses other sockets of the app have, too.

    TCP ports are shared. A UNIX address is a symlink then, which stays when the socket is closed unless it leads
    nowhere; the socket itself is next to it: it was opened there (`elsewhere`), or has a second name.
    """
    paths = [address for address in parse("", text).addresses if address.startswith("/")]
    more = [_REUSE] if len(paths) < len(_listening(text)) else []
    if paths:
        more.append("RemoveOnStop=no")
        text = re.sub(r"(?m)^RemoveOnStop=.*\n", "", text)
    for address in paths:
        words = map(escape.word, (address, set_aside(address), socket_paths.link(app_name, address)))
        more.append(f"{_CLEAN_UP} sh {' '.join(words)}")
        if elsewhere:
            own = escape.specifier(set_aside(address))
            text = text.replace(f"ListenStream={escape.specifier(address)}\n", f"ListenStream={own}\n")
    for line in more:
        text = text.replace(f"\n{line}\n", "\n")  # always in the same order
    head, install, rest = text.partition("\n[Install]\n")
    return "".join([head, *(f"{line}\n" for line in more), install, rest])


def lines(text: str) -> list[str]:
    """Return the lines of [Socket] in a unit file, without comments."""
    _, _, rest = text.partition("\n[Socket]\n")
    section, _, _ = rest.partition("\n[")
    return [line for line in section.splitlines() if line and not line.startswith("#")]


def _listening(text: str) -> list[str]:
    """Return the values of ListenStream= in a unit file."""
    found = (_STREAM.fullmatch(line) for line in text.splitlines())
    return [match[1].replace("%%", "%") for match in found if match]


def _addresses(socket: Socket) -> set[str]:
    return {_same(address) for address in socket.addresses}


def _same(address: str) -> str:
    """Return an address so that equal sockets are equal: a bare port listens on [::] (systemd.socket(5))."""
    return address.removeprefix("[::]:")


def _partly_wanted(app_name: str, socket: Socket, wanted: set[str]) -> str:
    dropped = [address for address in socket.addresses if _same(address) not in wanted]
    kept = [address for address in socket.addresses if _same(address) in wanted]
    return (
        f"listen of {app_name} drops {' '.join(dropped)} and keeps {' '.join(kept)}, but {socket.name} has opened them"
        f" together and can only close them together; keep {' '.join(dropped)} in listen, or"
        f" {advice.deployd()} remove {app_name} and apply it again"
    )
