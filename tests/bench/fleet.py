"""`python3 -m tests.bench.fleet [HOSTS …]`: simulates a rollout of many hosts through one etcd, and counts.

Each host takes its real turns and the stewards open batches (deployd_cli.fleet). Simulated are time, etcd and the
daemons: a rollout takes 20 to 40 s on each host, a message 1 ms, a write 0.5 ms in etcd, one after another, and etcd's
host sends 1 Gbit/s. The ideal is the time of the slowest host of each batch and the bake between batches. The figures
are reproducible.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from random import Random
from types import MappingProxyType

from deployd_cli.fleet import keys, order
from deployd_cli.fleet.goal import Goal, Kind
from deployd_cli.fleet.record import HostRecord
from deployd_cli.fleet.requests import set_goal
from deployd_cli.fleet.steward import Bake, is_steward, step
from deployd_cli.fleet.transaction import Put, Transaction, Unchanged
from deployd_cli.fleet.turn import Begin, Me, Rollout, State, Write, turn
from deployd_cli.fleet.verdict import FleetState, verdict
from deployd_cli.fleet.view import Change, Stored, View
from tests.fleet.store import Store

NOW = "2026-11-27T00:00:00Z"
HOP = 0.001
"""Seconds of a message."""
WRITE = 0.0005
"""Seconds of a write in etcd; they are made one after another."""
BANDWIDTH = 125e6
"""Bytes per second that etcd sends to all watchers."""
READS_EVERY = 0.05
"""Seconds in which a steward reads all events that have arrived."""
ENVELOPE = 150
"""Bytes of a message of the JSON gateway without keys and values, which are in base64."""
KEEPALIVE = 10.0
"""Seconds between two renewals of the lease of alive/HOST."""
SIZES = (10, 100, 1_000, 10_000)


@dataclass(frozen=True, slots=True)
class Scenario:
    batches: str = "1,25%"
    bake: float = 60.0
    """Seconds."""
    shortest: float = 20.0
    """Seconds of a rollout."""
    longest: float = 40.0


@dataclass(frozen=True, slots=True)
class Figures:
    hosts: int
    batches: int
    writes: float
    """Writes in etcd for each host."""
    requests: float
    """Of each host to etcd, without the renewals of leases."""
    events: float
    """Messages of watches to each host."""
    received: float
    """Kilobytes that each host receives."""
    goal: float
    """Kilobytes of the goal."""
    ideal: float
    """Seconds."""
    took: float
    renewals: float
    """Per second, of all leases."""


@dataclass(slots=True)
class Host:
    name: str
    seconds: float
    """Of its rollout."""
    control: View = field(default_factory=View)
    record: Stored[HostRecord] | None = None
    own: View = field(default_factory=View)
    wide: View | None = None
    """As a steward, it watches everything."""
    unread: list[Change] = field(default_factory=list)
    reads: bool = False
    bake: Bake | None = None
    rollout: Rollout | None = None
    live: str = "v1"
    waits: bool = False

    @property
    def view(self) -> View:
        """What it knows: its own keys come by another watch than control/."""
        if self.wide is not None:
            return replace(self.wide, slots=self.own.slots, hosts=self.own.hosts)
        return replace(self.control, slots=self.own.slots, hosts=self.own.hosts)

    @property
    def me(self) -> Me:
        return Me(self.name, f"machine-{self.name}", "boot", "start", NOW, self.live, self.rollout)


class Simulation:
    """Time, and an etcd with its watchers."""

    def __init__(self, hosts: int, scenario: Scenario) -> None:
        random = Random(hosts)
        self.scenario = scenario
        self.store = Store()
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.now = self.etcd_free = self.sender_free = 0.0
        self.numbers = self.requests = self.events = self.received = 0
        self.finished = 0.0
        width = len(str(hosts))
        names = [f"web{number:0{width}}" for number in range(1, hosts + 1)]
        self.hosts = {name: Host(name, random.uniform(scenario.shortest, scenario.longest)) for name in names}
        self.stewards: dict[str, Host] = {}

    def at(self, seconds: float, what: Callable[[], None]) -> None:
        self.numbers += 1
        heapq.heappush(self.queue, (seconds, self.numbers, what))

    def run(self) -> Figures:
        for host in self.hosts.values():
            record = HostRecord(f"machine-{host.name}")
            self.store.apply(
                Transaction((Unchanged(keys.host(host.name), 0),), (Put(keys.host(host.name), record.text()),))
            )
            host.own = View().after([self.store.keys[keys.host(host.name)]], self.store.revision)
        before = self.store.writes
        order_of = order.ordered({name: f"machine-{name}" for name in self.hosts}, "a")
        sizes = order.batches(self.scenario.batches, len(order_of))
        goal = Goal("shop-v2", Kind.ROLLOUT, order_of, sizes, "v2", bake=self.scenario.bake)
        self._write(set_goal(View(), goal, NOW), None)
        while self.queue:
            self.now, _, what = heapq.heappop(self.queue)
            what()
        found = verdict(self.store.everything())
        if found.state is not FleetState.DONE:
            raise RuntimeError(f"the fleet is {found.state}: {found.reason}")
        count = len(self.hosts)
        slowest = [max(self.hosts[name].seconds for name in goal.batch(index)) for index in range(len(sizes))]
        return Figures(
            count,
            len(sizes),
            (self.store.writes - before) / count,
            self.requests / count,
            self.events / count,
            self.received / count / 1000,
            len(goal.text()) / 1000,
            sum(slowest) + self.scenario.bake * (len(sizes) - 1),
            self.finished,
            count / KEEPALIVE,
        )

    def _write(self, transaction: Transaction, host: Host | None) -> None:
        """Send a transaction to etcd: its result comes back two hops later."""
        self.requests += 1
        if host is not None:
            host.waits = True
        self.etcd_free = max(self.now + HOP, self.etcd_free) + WRITE
        self.at(self.etcd_free, lambda: self._commit(transaction, host))

    def _commit(self, transaction: Transaction, host: Host | None) -> None:
        revision = self.store.revision
        done = self.store.apply(transaction)
        if done:
            self._publish(self.store.between(revision, self.store.revision))
        if host is not None:
            written, revision = (transaction if done else None), self.store.revision
            self.at(self.now + HOP, lambda: self._replied(host, written, revision))

    def _replied(self, host: Host, written: Transaction | None, revision: int) -> None:
        host.waits = False
        if written is not None:
            host.own = host.own.wrote(written, revision)
        self._react(host)

    def _publish(self, changes: Sequence[Change]) -> None:
        """Send the events of one transaction to all that watch these keys."""
        control = [item for item in changes if item.key.startswith(keys.CONTROL)]
        if control:
            view = next(iter(self.hosts.values())).control.after(control, self.store.revision)
            size = _bytes(control)
            for host in self.hosts.values():
                if host.name not in self.stewards:
                    self._send(size, lambda host=host: self._know(host, view))  # type: ignore[misc]
        for steward in self.stewards.values():
            self._send(_bytes(changes), lambda host=steward: self._hear(host, changes))  # type: ignore[misc]
        for item in changes:
            owner = (
                self.hosts.get(item.key.partition("/")[2]) if item.key.startswith((keys.SLOTS, keys.HOSTS)) else None
            )
            if owner is not None:
                self._send(_bytes([item]), lambda host=owner, item=item: self._see_own(host, item))  # type: ignore[misc]

    def _send(self, size: int, what: Callable[[], None]) -> None:
        self.events += 1
        self.received += size
        self.sender_free = max(self.now, self.sender_free) + size / BANDWIDTH
        self.at(self.sender_free + HOP, what)

    def _know(self, host: Host, view: View) -> None:
        host.control = view
        self._steward(host)
        self._react(host)

    def _see_own(self, host: Host, change: Change) -> None:
        host.own = host.own.after([change], change.revision)
        self._react(host)

    def _steward(self, host: Host) -> None:
        """Read all keys and watch them as long as the host is a steward."""
        wanted = is_steward(host.control if host.wide is None else host.wide, host.name)
        if wanted and host.wide is None:
            host.wide = self.store.everything()
            self.stewards[host.name] = host
            self.requests += 1
            self.events += 1
            self.received += _bytes(list(self.store.keys.values()))
            self._open(host)
        elif not wanted and host.wide is not None:
            host.control, host.wide = replace(host.wide, wide=False, slots={}, hosts={}), None
            del self.stewards[host.name]

    def _hear(self, host: Host, changes: Sequence[Change]) -> None:
        host.unread += changes
        if not host.reads:
            host.reads = True
            self.at(self.now + READS_EVERY, lambda: self._read(host))

    def _read(self, host: Host) -> None:
        host.reads, unread, host.unread = False, host.unread, []
        known = host.wide if host.wide is not None else host.control
        if host.wide is None:
            unread = [item for item in unread if item.key.startswith(keys.CONTROL)]
        newer = [item for item in unread if item.revision > known.revision]
        if newer:
            known = known.after(newer, newer[-1].revision)
        if host.wide is None:
            host.control = known
        else:
            host.wide = known
            self._steward(host)
            self._open(host)
        self._react(host)

    def _open(self, host: Host) -> None:
        if host.wide is None:
            return
        done = step(host.wide, host.name, host.bake, self.now)
        host.bake = done.bake
        if done.transaction is not None:
            self._write(done.transaction, None)
        elif done.wake is not None:
            self.at(done.wake, lambda: self._open(host))

    def _react(self, host: Host) -> None:
        if host.waits:
            return
        act = turn(host.view, host.me)
        if isinstance(act, Write):
            self._write(act.transaction, host)
        elif isinstance(act, Begin):
            host.rollout = Rollout(act.token, State.ROLLING)
            self.at(self.now + host.seconds, lambda: self._end(host, act))

    def _end(self, host: Host, begin: Begin) -> None:
        host.live, host.rollout = begin.release, Rollout(begin.token, State.SUCCEEDED)
        self.finished = self.now
        self._react(host)


def _bytes(changes: Sequence[Change]) -> int:
    """Return the size of a message with these keys and values in base64."""
    return ENVELOPE + sum((len(item.key) + 20 + len(item.value or "")) * 4 // 3 for item in changes)


COLUMNS: Mapping[str, Callable[[Figures], str]] = MappingProxyType(
    {
        "hosts": lambda found: f"{found.hosts:,}",
        "batches": lambda found: f"{found.batches}",
        "etcd writes per host": lambda found: f"{found.writes:.2f}",
        "requests per host": lambda found: f"{found.requests:.2f}",
        "watch messages per host": lambda found: f"{found.events:.1f}",
        "received per host": lambda found: f"{found.received:,.1f} kB",
        "goal": lambda found: f"{found.goal:,.1f} kB",
        "ideal": lambda found: f"{found.ideal:.1f} s",
        "until all are new": lambda found: f"{found.took:.1f} s",
        "of the ideal": lambda found: f"{found.took / found.ideal:.3f}",
        "leases renewed": lambda found: f"{found.renewals:,.0f}/s",
    }
)


def table(found: Sequence[Figures]) -> str:
    """Return the figures as a table in Markdown."""
    lines = [tuple(COLUMNS), tuple("-" * 3 + ":" for _ in COLUMNS)]
    lines += [tuple(cell(item) for cell in COLUMNS.values()) for item in found]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(
        prog="python3 -m tests.bench.fleet", description=(__doc__ or "").partition("\n\n")[2]
    )
    arguments.add_argument("hosts", type=int, nargs="*", default=SIZES, help="numbers of hosts")
    arguments.add_argument("--batches", default=Scenario().batches)
    arguments.add_argument("--bake", type=float, default=Scenario().bake, help="seconds")
    arguments.add_argument("--json", action="store_true", help="print one JSON object for each number of hosts")
    given = arguments.parse_args(argv)
    scenario = Scenario(given.batches, given.bake)
    found = [Simulation(hosts, scenario).run() for hosts in given.hosts]
    if given.json:
        for item in found:
            print(json.dumps(asdict(item)))
    else:
        print(table(found), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
