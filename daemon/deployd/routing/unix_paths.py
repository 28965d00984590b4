"""UNIX addresses of a steered app: symlinks to the sockets of single instances, moved by rename(2).

UNIX sockets have no SO_REUSEPORT. Instance N listens at a path of its own, and the address that clients know leads to
one of these, over a link in the app's own directory below /run/deployd. connect(2) follows it in one step, so a client
finds the instance of before or of after a move, never nothing. Which instance the link names decides where connections
go; where several have a share, it moves on by the steering table again and again (`turn`), so that shares hold over
time.

The symlink at the address itself may be anywhere: the socket units of the instances make it when the first one opens,
and remove it when the last one closes (templates/steered.j2). It never moves, and the daemon need not write there.

Which addresses are ours is written down as symlinks, too: `.address-HASH` in the app's directory leads to the address.
Who comes after a daemon that died finds them, also those of settings of before. A daemon that dies leaves the address
with the instance that it names then.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from deployd.errors import SteeringError, steering_errors
from deployd.reuseport.table import Table, choose
from deployd.sockdiag import unix_diag

log = logging.getLogger(__name__)

SLICE = 0.02
"""Seconds that the path names one instance before it moves on, while several have a share."""

_NOTE = ".address-"


class PathTakenError(SteeringError):
    """There is something at an address that deployd did not put there."""


def next_slot(table: Table, cursor: int, listening: Collection[int]) -> int | None:
    """Whom the path names in time slice `cursor`; with nobody in the table to be had, the first who listens."""
    slot = choose(table, cursor, listening)
    return min(listening, default=None) if slot is None else slot


def moves(table: Table, listening: Collection[int]) -> bool:
    """Whether there is more than one whom the path may name."""
    named = set(table.tickets)
    if named <= set(listening):
        return len(named) > 1
    return len({next_slot(table, cursor, listening) for cursor in range(len(table.tickets))}) > 1


class Paths:
    """Of one app. `own(number, address)` is where an instance listens, `link(address)` what leads to one of those, both
    in `directory`, which is the app's alone."""

    def __init__(self, directory: Path, own: Callable[[int, str], str], link: Callable[[str], str]) -> None:
        self._directory = directory
        self._own = own
        self._link = link
        self._noted = _noted(directory)
        self._listening: dict[str, frozenset[int]] = {}
        """Address to the instances that listen for it."""
        self._table = Table()
        self._cursor = 0
        self._moves: dict[str, bool] = {}
        self._troubled: set[str] = set()

    @property
    def moving(self) -> bool:
        """Whether time slices are needed: call `turn` every SLICE then."""
        return any(self._moves.values())

    @property
    def listening(self) -> dict[str, frozenset[int]]:
        """Address to the instances that it may name."""
        return self._listening

    def find(self, addresses: Iterable[str], numbers: Collection[int], *, keep: bool = False) -> None:
        """See who listens for which address: of these numbers, at these `addresses` or at those of before.

        An address that is new is claimed, and named by somebody at once. One that is none of `addresses` any more goes
        when nobody listens there, unless told to `keep` it. Raises PathTakenError for an address that is another's,
        SteeringError.
        """
        wanted = dict.fromkeys(addresses)
        known = {**wanted, **dict.fromkeys(self._noted)}
        there = unix_diag.queues() if known else {}
        self._listening = {
            address: frozenset(number for number in numbers if self._own(number, address) in there) for address in known
        }
        taken = None
        for address, listening in self._listening.items():
            if listening:
                try:
                    self._claim(address)
                except PathTakenError as error:
                    taken = error
        idle = [address for address in self._noted if not self._listening[address] and address not in wanted]
        for address in () if keep else idle:
            self._release(address)
            del self._listening[address]
        self._listening = {address: found for address, found in self._listening.items() if address in self._noted}
        self._look()
        if taken is not None:
            raise taken

    def set(self, table: Table) -> None:
        """The table that holds from now on; an address that names nobody of it moves on at once."""
        if table != self._table:
            self._table = table
            self._look()

    def turn(self) -> None:
        """The next time slice."""
        self._cursor += 1
        for address in self._listening:
            if self._moves.get(address):
                self._point(address)

    def queues(self) -> dict[int, int]:
        """Number to the connections that wait to be accepted. Raises SteeringError."""
        lengths = unix_diag.queues() if self._listening else {}
        return self._sums(lambda path: lengths.get(path, 0))

    def connections(self, numbers: Collection[int]) -> dict[int, int]:
        """Number to the connections that were accepted, and those that wait to be. Raises SteeringError."""
        paths = [
            self._own(number, address)
            for address, found in self._listening.items()
            for number in found
            if number in numbers
        ]
        if not paths:
            return {}
        lengths, accepted = unix_diag.queues(), unix_diag.connections(paths)
        found = self._sums(lambda path: lengths.get(path, 0) + accepted.get(path, 0))
        return {number: count for number, count in found.items() if number in numbers}

    def _sums(self, of: Callable[[str], int]) -> dict[int, int]:
        totals: dict[int, int] = {}
        for address, listening in self._listening.items():
            for number in listening:
                totals[number] = totals.get(number, 0) + of(self._own(number, address))
        return totals

    def _look(self) -> None:
        """Things have changed: does the path move from now on, and may it stay where it is until then?"""
        self._moves = {address: moves(self._table, found) for address, found in self._listening.items()}
        tickets = set(self._table.tickets)
        for address, found in self._listening.items():
            stays = {self._own(number, address) for number in found & tickets} if self._moves[address] else set()
            if found and _target(self._link(address)) not in stays:
                self._point(address)

    def _point(self, address: str) -> None:
        number = next_slot(self._table, self._cursor, self._listening[address])
        if number is None:
            return
        try:
            point(self._link(address), self._own(number, address))
        except SteeringError as error:
            # Told once: a slice is short.
            if address not in self._troubled:
                self._troubled.add(address)
                log.warning("%s; connections to it go where it leads", error)
        else:
            self._troubled.discard(address)

    def _claim(self, address: str) -> None:
        """Note down that the address is ours, unless it is another's."""
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
        self._troubled.discard(address)


def check(address: str, directory: Path) -> None:
    """Raises PathTakenError unless nothing stands at `address`, or a symlink of ours."""
    try:
        target = Path(address).readlink()
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise SteeringError(f"cannot look at {address}: {error.strerror}") from error
        raise PathTakenError(
            f"{address} is there already, and is no symlink that deployd made; remove it, or listen elsewhere"
        ) from error
    if target.parent != directory:
        raise PathTakenError(f"{address} is there already, a symlink to {target}; remove it, or listen elsewhere")


def point(link: str, target: str) -> None:
    """Have `link` lead to `target`, atomically. Raises SteeringError; nothing has changed then."""
    if _target(link) == target:
        return
    path = Path(link)
    # One name only: what a daemon that was killed left there is replaced.
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


def forget(directory: Path, link: Callable[[str], str]) -> None:
    """The app is removed: remove its links, and its directory if nothing is left there. Raises SteeringError."""
    for address in _noted(directory):
        release(address, link(address), directory)
    if directory.is_dir():
        with steering_errors(f"remove {directory}"):
            if not any(directory.iterdir()):
                directory.rmdir()


def _noted(directory: Path) -> set[str]:
    """The addresses that are ours."""
    with steering_errors(f"read {directory}"):
        if not directory.is_dir():
            return set()
        return {str(item.readlink()) for item in directory.iterdir() if item.name.startswith(_NOTE)}


def _note(directory: Path, address: str) -> Path:
    return directory / f"{_NOTE}{hashlib.sha256(os.fsencode(address)).hexdigest()[:16]}"


def _target(address: str) -> str | None:
    """Where the symlink leads; None if it is none."""
    try:
        return str(Path(address).readlink())
    except OSError:
        return None
