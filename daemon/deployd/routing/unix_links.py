"""UNIX addresses of a steered app: symlinks to the socket of one generation, moved by rename(2).

Each generation listens at a path of its own, and the address that clients know leads to one of these, over a link in
the app's own directory below /run/deployd. connect(2) follows it in one step, so a client finds the old socket or the
new one, never nothing. A daemon that dies leaves the address with the generation to which it leads then.

The symlink at the address itself may be anywhere: the socket units make it when the first one opens, and remove it when
the last one closes (templates/generation.j2). It never moves, and the daemon need not write there. While routing
changes, shared sockets are one of those to which it may lead: SHARED_UNIX.

`.address-HASH` in the app's directory is a symlink to an address of ours. A daemon that starts after another was killed
finds all addresses there, also those of older settings.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from deployd.errors import SteeringError, steering_errors
from deployd.routing.passed_sockets import SHARED_UNIX
from deployd.sockdiag import unix_diag
from deployd.units.unix_addresses import is_socket

log = logging.getLogger(__name__)

_NOTE = ".address-"


class PathTakenError(SteeringError):
    """There is something at an address that deployd did not put there."""


class Links:
    """The links of one app. `own(number, address)` is the path at which socket `number` is reached, `link(address)` the
    symlink to one of those, both but for shared sockets in `directory`, which is the app's alone."""

    def __init__(self, directory: Path, own: Callable[[int, str], str], link: Callable[[str], str]) -> None:
        self._directory = directory
        self._own = own
        self._link = link
        self._noted = _noted(directory)
        self._listening: dict[str, frozenset[int]] = {}
        self._order: tuple[int, ...] = ()
        self._failed: set[str] = set()

    @property
    def listening(self) -> dict[str, frozenset[int]]:
        """Each address and the sockets to which it may lead."""
        return self._listening

    def update(self, addresses: Iterable[str], numbers: Collection[int], *, keep: bool = False) -> None:
        """Read which sockets, of these numbers, listen for which address: for these `addresses` or older ones.

        A new address is claimed, and leads to a socket at once. One that is none of `addresses` is released when no
        socket listens for it, unless `keep` is set. Raises PathTakenError for an address that is not ours, and
        SteeringError.
        """
        wanted = dict.fromkeys(addresses)
        known = {**wanted, **dict.fromkeys(self._noted)}
        there = unix_diag.queues() if known else {}
        self._listening = {
            address: frozenset(n for n in numbers if not there.keys().isdisjoint(self._names(n, address)))
            for address in known
        }
        taken = None
        for address, listening in self._listening.items():
            if listening and not (SHARED_UNIX in listening and is_socket(address)):
                try:
                    self._claim(address)
                except PathTakenError as error:
                    taken = error
        idle = [address for address in self._noted if not self._listening[address] and address not in wanted]
        for address in () if keep else idle:
            self._release(address)
            del self._listening[address]
        self._listening = {address: found for address, found in self._listening.items() if address in self._noted}
        self._point_all()
        if taken is not None:
            raise taken

    def lead(self, order: tuple[int, ...]) -> None:
        """Have each address lead to the first of these sockets that listens for it."""
        self._order = order
        self._point_all()

    def target(self, address: str) -> int | None:
        """Return the socket to which `address` leads, or None if none listens there."""
        target = _target(self._link(address))
        return next((n for n in self._listening.get(address, ()) if self._own(n, address) == target), None)

    def removed(self) -> list[str]:
        """Return the addresses at which nothing is although a socket listens for them."""
        return [a for a, listening in self._listening.items() if listening and not os.path.lexists(a)]

    def paths(self, number: int) -> list[str]:
        """Return the names that the kernel may have for socket `number`."""
        return [
            name
            for address, found in self._listening.items()
            if number in found
            for name in self._names(number, address)
        ]

    def _names(self, number: int, address: str) -> tuple[str, ...]:
        """Return the names that the kernel may have for a socket: the path at which it was opened. A shared one was
        opened at the address, or next to it if its app was steered then."""
        own = self._own(number, address)
        return (own, address) if number == SHARED_UNIX else (own,)

    def _point_all(self) -> None:
        for address, listening in self._listening.items():
            now = self.target(address)
            first = next((number for number in self._order if number in listening), now)
            number = min(listening, default=None) if first is None else first
            if number is not None and number != now:
                self._point(address, number)

    def _point(self, address: str, number: int) -> None:
        try:
            point(self._link(address), self._own(number, address))
        except SteeringError as error:
            if address not in self._failed:  # log it once, as this is tried at every change
                self._failed.add(address)
                log.warning("%s; connections to %s stay with the generation to which it leads", error, address)
        else:
            self._failed.discard(address)

    def _claim(self, address: str) -> None:
        """Write down that the address is ours, unless something else is there."""
        check(address, self._directory)
        if address in self._noted:
            return
        note = _note(self._directory, address)
        with steering_errors(f"write {note}"):
            if not note.is_symlink():
                note.symlink_to(address)
        self._noted.add(address)

    def _release(self, address: str) -> None:
        release(address, self._link(address), self._directory)
        self._noted.discard(address)
        self._failed.discard(address)


def check(address: str, directory: Path) -> None:
    """Raise PathTakenError unless there is nothing at `address`, or a symlink of ours."""
    try:
        target = Path(address).readlink()
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise SteeringError(f"cannot read {address}: {error.strerror}") from error
        raise PathTakenError(
            f"{address} is there already, and is no symlink that deployd made; remove it, or listen elsewhere"
        ) from error
    if target.parent != directory:
        raise PathTakenError(f"{address} is there already, a symlink to {target}; remove it, or listen elsewhere")


def point(link: str, target: str) -> None:
    """Replace the symlink `link` by one to `target`, atomically. Raises SteeringError; nothing has changed then."""
    if _target(link) == target:
        return
    path = Path(link)
    # Always the same name, so that the next attempt replaces what a killed daemon left there.
    new = path.with_name(f".{path.name}.new")
    with steering_errors(f"replace the symlink {link}"):
        new.unlink(missing_ok=True)
        new.symlink_to(target)
        new.replace(path)


def release(address: str, link: str, directory: Path) -> None:
    """Remove the link of `address`, and then the note of it. Raises SteeringError."""
    with steering_errors(f"remove the symlink {link}"):
        Path(link).unlink(missing_ok=True)
        _note(directory, address).unlink(missing_ok=True)


def forget(directory: Path) -> None:
    """Remove the links of an app that is removed, and its directory if nothing is left there. Raises SteeringError.

    Also a link that a socket unit made and that is not noted: a start may be cancelled in between.
    """
    with steering_errors(f"remove {directory}"):
        if directory.is_dir():
            for item in directory.iterdir():
                if item.is_symlink():
                    item.unlink()
            if not any(directory.iterdir()):
                directory.rmdir()


def _noted(directory: Path) -> set[str]:
    """Return the addresses that are ours."""
    with steering_errors(f"read {directory}"):
        if not directory.is_dir():
            return set()
        return {str(item.readlink()) for item in directory.iterdir() if item.name.startswith(_NOTE)}


def _note(directory: Path, address: str) -> Path:
    return directory / f"{_NOTE}{hashlib.sha256(os.fsencode(address)).hexdigest()[:16]}"


def _target(link: str) -> str | None:
    """Return what the symlink says, or None if there is no symlink."""
    try:
        return str(Path(link).readlink())
    except OSError:
        return None
