"""Steering of one app by classic BPF programs, where the kernel refuses bpf(2) (socket(7), SO_ATTACH_REUSEPORT_CBPF).

A classic program has no memory: shares are part of its text, and each change replaces it, by one setsockopt(2). It
answers with a position in the group (order.py), and deals by chance where the eBPF program deals in turn. It does not
count, and the kernel does not ask it where the queue of a closed listener is to go: what waits there is lost.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import logging
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deployd.errors import SteeringError
from deployd.steering import order
from deployd.steering.diag import Diag, Listener
from deployd.steering.group import Address
from deployd.steering.listeners import borrowed
from deployd.steering.order import Order, OrderFile, Span
from deployd.steering.syscalls import told
from deployd.steering.table import TICKETS, Table

log = logging.getLogger(__name__)

SO_ATTACH_REUSEPORT_CBPF = 51
SO_DETACH_REUSEPORT_BPF = 68

NOBODY = 0xFFFFFFFF
"""No position: the kernel picks by hash."""

PATIENCE = 5.0
"""Seconds until somebody who listens, and whose listener nobody knows, is taken for a stranger."""

# linux/filter.h
_LOAD_WORD, _AND, _JUMP_IF_NOT_LESS, _RETURN = 0x20, 0x54, 0x35, 0x06
_RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM
_INSTRUCTION = struct.Struct("=HBBI")  # operation, steps if true, steps if false, number

Runs = tuple[tuple[int, int], ...]
"""Tickets by position: those below the first number that are in no run before get the second one, a position."""


def runs(table: Table, positions: Mapping[int, int]) -> Runs:
    """Which ticket leads to which position; `positions` of the slots that listen."""
    default = next((positions[slot] for slot in table.order if slot in positions), NOBODY)
    found: list[tuple[int, int]] = []
    end = 0
    for slot, tickets in itertools.groupby(table.tickets):
        end += len(list(tickets))
        place = positions.get(slot, default)
        if found and found[-1][1] == place:
            found.pop()
        found.append((end, place))
    return tuple(found)


def decide(found: Runs, random: int) -> int:
    """The position for a random number, as the program decides."""
    ticket = random % TICKETS
    return next(place for end, place in found if ticket < end)


def text(found: Runs) -> bytes:
    """The program's code, eight bytes an instruction; two for each run and two more."""
    *some, (_, last) = found
    code = [
        _INSTRUCTION.pack(_LOAD_WORD, 0, 0, _RANDOM),  #          a = a random number
        _INSTRUCTION.pack(_AND, 0, 0, TICKETS - 1),  #            a = its ticket
    ]
    for end, place in some:
        code += [
            _INSTRUCTION.pack(_JUMP_IF_NOT_LESS, 1, 0, end),  #   unless a >= end:
            _INSTRUCTION.pack(_RETURN, 0, 0, place),  #               it is this one's
        ]
    code.append(_INSTRUCTION.pack(_RETURN, 0, 0, last))
    return b"".join(code)


def attach(listener: socket.socket, code: bytes) -> None:
    """Make it the program of the listener's group, in place of any other. Raises OSError."""
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // _INSTRUCTION.size, ctypes.addressof(held))
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)


def detach(listener: socket.socket) -> None:
    """Let the kernel pick by hash in the listener's group. Raises OSError."""
    try:
        listener.setsockopt(socket.SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


class Classic:
    """One app's. Not for use by several threads. Has what steering.Steering has."""

    def __init__(self, file: Path, pid: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        """`file` keeps the orders for the daemon after us; `pid` holds the listeners."""
        self._file = OrderFile(file)
        self._pid = pid
        self._clock = clock
        self._table = Table()
        self._diag = Diag()
        known = self._file.read()
        self._lost = known is None
        """Nobody knows what went on before us."""
        self._orders: dict[Address, Order | None] = {}
        for label, one in (known or {}).items():
            if address := Address.parse(label):
                self._orders[address] = one
        self._numbers: dict[Address, dict[int, int]] = {}
        """Cookie to number."""
        self._inodes: dict[Address, dict[int, int]] = {}
        """Cookie to inode."""
        self._spans: dict[int, Span] = {}
        self._attached: dict[Address, bytes | None] = {}
        """What we attached last: a program, or none."""
        self._unclear: dict[Address, float] = {}

    @property
    def fds(self) -> dict[str, int]:
        """Nothing is to be kept for the next daemon: the program stays with its group."""
        return {}

    @property
    def table(self) -> Table:
        """The one that holds."""
        return self._table

    @property
    def reason(self) -> str:
        """Why shares do not hold, for people; empty if they do."""
        if None in self._orders.values():
            return (
                "the order of the listening sockets is not known, so that connections go to all of them alike; "
                "stop and start the app's sockets"
            )
        return ""

    def note(self, number: int, span: Span) -> None:
        """When the listeners of an instance were opened: between these two moments, of any clock."""
        self._spans[number] = span

    def set(self, table: Table) -> None:
        """Steer by this table from now on. Raises SteeringError."""
        if table == self._table:
            return
        before, self._table = self._table, table
        try:
            self._attach()
        except SteeringError:
            self._table = before
            raise

    def sync(self, listeners: Mapping[int, Sequence[Listener]]) -> frozenset[int]:
        """Steer among these listeners, given by instance. Call it whenever one came or went.

        Returns the instances that have to wait, because the order is not clear yet; call again soon. Raises
        SteeringError.
        """
        self._numbers = {}
        for number, several in listeners.items():
            for one in several:
                self._numbers.setdefault(Address.of(one), {})[one.cookie] = number
        self._spans = {number: span for number, span in self._spans.items() if number in listeners}
        self._follow()
        self._attach()
        return frozenset(
            number
            for address, cookies in self._numbers.items()
            if (now := self._orders.get(address)) is not None
            for cookie, number in cookies.items()
            if cookie not in now
        )

    @contextmanager
    def parting(self, number: int) -> Iterator[None]:
        """Around the end of an instance's listeners, which systemd closes within. No ticket may be theirs any more.

        They stay open until the end of this, so that they leave the group at a moment that is known, and the program
        for the order of then follows within microseconds. Where that fails, the next `sync` has to see to it.
        """
        mine = {
            address: cookie
            for address, cookies in self._numbers.items()
            for cookie, owner in cookies.items()
            if owner == number and cookie in self._inodes.get(address, {})
        }
        with ExitStack() as held:
            try:
                held.enter_context(borrowed({self._inodes[address][one] for address, one in mine.items()}, self._pid))
            except SteeringError as error:
                log.warning("%s", error)
            yield
            try:
                self._part(mine, held)
            except SteeringError as error:
                log.warning("%s", error)

    def counters(self) -> dict[int, int]:
        """A classic program cannot count."""
        return {}

    def close(self) -> None:
        """The kernel goes on with the last programs."""

    def _part(self, mine: Mapping[Address, int], held: ExitStack) -> None:
        """These listeners, by address, are closed with `held`."""
        self._follow()  # who was opened meanwhile came before
        before = dict(self._orders)
        for address, cookie in mine.items():
            self._numbers.get(address, {}).pop(cookie, None)
        with self._members() as members:
            self._attach(members, mine)
            for address, cookie in mine.items():
                if (now := before.get(address)) is not None and cookie in now:
                    self._orders[address] = order.closed(now, cookie)
            held.close()
            try:
                self._attach(members)
            finally:
                self._orders = before
        self._follow()  # the same, unless somebody else held them, too
        self._attach()

    def _follow(self) -> None:
        """See who is there, and what that makes of the order."""
        there: dict[Address, dict[int, int]] = {}
        for port in {address.port for address in (*self._numbers, *self._orders)}:
            for one in self._diag.listeners(port):
                there.setdefault(Address.of(one), {})[one.cookie] = one.inode
        ours = self._numbers.keys() | self._orders.keys()
        self._inodes = {address: found for address, found in there.items() if address in ours}
        for address in ours:
            if address not in there:
                self._orders.pop(address, None)
                self._attached.pop(address, None)
                self._unclear.pop(address, None)
                continue
            self._orders[address] = self._now(address)
        if not self._lost or self._orders:
            self._lost = False
            self._file.write({address.label: found for address, found in sorted(self._orders.items(), key=str)})

    def _now(self, address: Address) -> Order | None:
        there, numbers = self._inodes[address], self._numbers.get(address, {})
        before = self._orders.get(address, None if self._lost else ())
        spans = {cookie: self._spans[number] for cookie, number in numbers.items() if number in self._spans}
        now = order.follow(before, there, spans)
        if now is not None or before is None:
            self._unclear.pop(address, None)
            return now
        # Somebody new of whom we are not told yet: whoever was there keeps its position, unless one is gone.
        if there.keys() >= set(before) and any(cookie not in spans for cookie in there.keys() - set(before)):
            begun = self._unclear.setdefault(address, self._clock())
            if self._clock() < begun + PATIENCE:
                return before
        self._unclear.pop(address, None)
        return None

    def _attach(
        self, members: Mapping[Address, socket.socket] | None = None, parting: Mapping[Address, int] | None = None
    ) -> None:
        """Have each group steered by the program that fits it, or that fits before and after the end of `parting`."""
        leaving = parting or {}
        wanted = {
            address: self._program(address, leaving.get(address))
            for address in self._inodes
            if self._numbers.get(address)
        }
        news = [address for address, code in wanted.items() if self._attached.get(address, b"") != code]
        if not news:
            return
        with ExitStack() as held:
            if members is None or any(address not in members for address in news):
                members = held.enter_context(self._members())
            for address in news:
                if address not in members:
                    raise SteeringError(f"no listener at port {address.port} can be borrowed to attach a program")
                code = wanted[address]
                with told("attach a classic steering program to a listener"):
                    if code is None:
                        detach(members[address])
                    else:
                        attach(members[address], code)
                self._attached[address] = code

    def _program(self, address: Address, parting: int | None = None) -> bytes | None:
        now = self._orders.get(address)
        if now is None:
            return None
        numbers = self._numbers.get(address, {})
        places = {numbers[cookie]: place for place, cookie in enumerate(now) if cookie in numbers}
        table = self._table
        if parting in now:
            # The last one is moved; those who serve as well as it take over for the moment.
            staying = {number: place for number, place in places.items() if place != len(now) - 1}
            serving = (*table.order, *sorted(set(table.tickets)))
            if any(number in staying for number in serving):
                places, table = staying, Table(table.tickets, serving)
        return text(runs(table, places))

    @contextmanager
    def _members(self) -> Iterator[dict[Address, socket.socket]]:
        """A listener of each address, for a moment. One that an instance of ours has: others may go at any time."""
        wanted: dict[int, Address] = {}
        for address, cookies in self._numbers.items():
            known = [self._inodes[address][one] for one in cookies if one in self._inodes.get(address, {})]
            for inode in itertools.islice(known, 2):
                wanted[inode] = address
        with borrowed(wanted, self._pid) as fds, ExitStack() as held:
            found: dict[Address, socket.socket] = {}
            for inode, fd in fds.items():
                found[wanted[inode]] = held.enter_context(socket.socket(fileno=socket.dup(fd)))
            yield found
