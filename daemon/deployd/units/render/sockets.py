"""Which socket unit has which listening address, before and after `listen` has changed.

systemd closes a socket whose unit is edited, and cannot open it again while the app is up. So a unit keeps its
addresses for as long as it lives: those that are still wanted stay as they are, new addresses open in a unit of their
own beside them, and a unit goes when no instance holds it any more. NAME.socket is the first; later ones are
NAME:2.socket, NAME:3.socket and so on.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from deployd.errors import Refused
from deployd.model import unit_name

_STREAM = re.compile(r"ListenStream=(.*)")
_HELD = re.compile(r"Sockets=(.*)")


@dataclass(frozen=True, slots=True)
class Socket:
    """A socket unit of an app: its name, and its addresses as ListenStream= has them."""

    name: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """What becomes of the socket units when the app is to listen on other addresses."""

    kept: tuple[Socket, ...]
    """Installed, and all of its addresses are wanted."""
    new: Socket | None
    """For the addresses that no installed unit has, in their order."""
    going: tuple[Socket, ...]
    """Installed, and none of its addresses is wanted."""

    @property
    def wanted(self) -> tuple[Socket, ...]:
        """The units that have all the wanted addresses between them."""
        return self.kept if self.new is None else (*self.kept, self.new)


def place(app_name: str, installed: Iterable[Socket], listen: Sequence[str]) -> Placement:
    """Where the addresses of `listen` are to be. Raises `Refused` if a unit has some that are wanted and some not."""
    there = in_order(app_name, installed)
    wanted = {_same(address) for address in listen}
    kept = tuple(item for item in there if _addresses(item) <= wanted)
    going = tuple(item for item in there if not _addresses(item) & wanted)
    for item in there:
        if item not in kept and item not in going:
            raise Refused(_torn(app_name, item, wanted))
    open_already = {address for item in kept for address in _addresses(item)}
    rest = tuple(address for address in listen if _same(address) not in open_already)
    taken = {unit_name.shared_socket_count(app_name, item.name) for item in there}
    # The first socket's service is the umbrella itself. Once the app is up it could not be opened any more (EBUSY), so
    # that its name is for the first time only.
    free = next(count for count in range(2, len(taken) + 3) if count not in taken) if taken else 1
    return Placement(kept, Socket(unit_name.shared_socket(app_name, free), rest) if rest else None, going)


def files(app_name: str, name: str) -> tuple[str, ...]:
    """The unit files that come and go with a socket unit."""
    return (name,) if unit_name.shared_socket_count(app_name, name) == 1 else (name, unit_name.service_of(name))


def in_order(app_name: str, sockets: Iterable[Socket]) -> tuple[Socket, ...]:
    """By number; what is no socket unit of the app is left out."""
    numbered = [
        (count, item) for item in sockets if (count := unit_name.shared_socket_count(app_name, item.name)) is not None
    ]
    return tuple(item for _, item in sorted(numbered, key=lambda pair: pair[0]))


def names_in_order(app_name: str, names: Collection[str]) -> tuple[str, ...]:
    """Names of socket units of the app by number."""
    return tuple(item.name for item in in_order(app_name, (Socket(name, ()) for name in names)))


def parse(name: str, text: str) -> Socket:
    """The inverse of rendering one, as far as its addresses go."""
    found = (_STREAM.fullmatch(line) for line in text.splitlines())
    return Socket(name, tuple(match[1].replace("%%", "%") for match in found if match))


@lru_cache(maxsize=64)  # of hundreds of instances nearly all have the same
def held(app_name: str, text: str) -> frozenset[str]:
    """The socket units of the app that instances of this unit file are passed."""
    found = (_HELD.fullmatch(line) for line in text.splitlines())
    names = (name for match in found if match for name in match[1].split())
    return frozenset(name for name in names if unit_name.shared_socket_count(app_name, name) is not None)


def settings(text: str) -> list[str]:
    """What a socket unit says but for comments and what is in its other sections: a change of it closes the socket."""
    _, _, rest = text.partition("\n[Socket]\n")
    section, _, _ = rest.partition("\n[")
    return [line for line in section.splitlines() if line and not line.startswith("#")]


def _addresses(socket: Socket) -> set[str]:
    return {_same(address) for address in socket.addresses}


def _same(address: str) -> str:
    """A bare port listens on [::], which is the same socket (systemd.socket(5))."""
    return address.removeprefix("[::]:")


def _torn(app_name: str, socket: Socket, wanted: set[str]) -> str:
    dropped = [address for address in socket.addresses if _same(address) not in wanted]
    kept = [address for address in socket.addresses if _same(address) in wanted]
    return (
        f"listen of {app_name} drops {' '.join(dropped)} and keeps {' '.join(kept)}, but they opened together as"
        f" {socket.name} and can only close together; keep {' '.join(dropped)} in listen, or deployd remove {app_name}"
        " and apply anew"
    )
