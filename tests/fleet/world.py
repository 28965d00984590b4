"""The model: an etcd, hosts, drivers, and messages between them that are late, lost, repeated or reordered.

`moves()` lists all that may happen next, and `do()` lets one of it happen. `settle()` leaves the fleet alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from deployd.errors import DeploydError
from deployd_cli.fleet import order
from deployd_cli.fleet.goal import Goal, Kind, OnFailure
from deployd_cli.fleet.requests import abort_of, forget, pause, release_slot, resume, rollback_of, set_goal
from deployd_cli.fleet.steward import Step, is_steward, step
from deployd_cli.fleet.transaction import Transaction
from deployd_cli.fleet.turn import Abort, Act, Begin, State, Write, turn
from deployd_cli.fleet.verdict import FleetVerdict, verdict
from deployd_cli.fleet.view import View
from tests.fleet.invariants import Invariants
from tests.fleet.model_host import Host
from tests.fleet.store import Store, own, watched

NOW = "2026-11-27T00:00:00Z"
Move = tuple[str, str | int]
"""What happens, and to which host, driver or message."""
REQUESTS = ("rollout", "rollback", "abort", "pause", "resume", "release", "forget")
IN_FLIGHT = 3
"""Messages of one host that are not delivered yet."""


@dataclass(slots=True)
class Message:
    """What a host has sent to etcd or to its daemon and may arrive at any time, once or never."""

    host: str
    boot: int
    invocation: int
    what: Transaction | Begin | Abort


@dataclass(frozen=True, slots=True)
class Plan:
    """The parameters of a model."""

    hosts: int = 4
    batches: str = "1,2"
    max_failures: int = 0
    bake: float = 0.0
    on_failure: OnFailure = OnFailure.STOP


@dataclass(slots=True)
class World:
    plan: Plan
    act: Callable[[View, Host], Act] = lambda view, host: turn(view, host.me)
    open: Callable[[View, Host], Step] = lambda view, host: step(view, host.name, host.bake, host.clock)
    """Mutants have others."""
    fails: set[str] = field(default_factory=set)
    """The hosts on which each rollout fails while the fleet is left alone, but one to v0."""
    store: Store = field(default_factory=Store)
    reachable: bool = True
    """etcd has a quorum."""
    hosts: dict[str, Host] = field(default_factory=dict)
    transit: list[Message] = field(default_factory=list)
    drivers: list[View] = field(default_factory=lambda: [View(), View()])
    goals: int = 0
    invariants: Invariants = field(default_factory=Invariants)

    def __post_init__(self) -> None:
        for number in range(self.plan.hosts):
            host = Host(f"web{number}")
            self.hosts[host.name] = host
            host.start()
            self._sync(host)
            self._act(host)
            self._deliver(0, lost=False)

    def moves(self) -> Iterator[Move]:
        for name, host in self.hosts.items():
            yield from ((what, name) for what in self._moves_of(host))
        for index, _ in enumerate(self.transit):
            yield "arrive", index
            yield "arrive, reply lost", index
            yield "lose", index
        yield "etcd", ""
        for driver in range(len(self.drivers)):
            if self.reachable:
                yield "read", driver
            yield from ((what, driver) for what in REQUESTS if self.reachable)

    def _moves_of(self, host: Host) -> Iterator[str]:
        if not host.up:
            yield "power on"
            return
        yield "power off"
        yield "kill agent"
        if self.reachable:
            yield "watch"
            yield "watch own"
        if host.view is not None and not host.waits:
            yield "act"
            yield "open"
        if host.waits:
            yield "deadline"
        if host.daemon.rolling is not None:
            yield "succeed"
            yield "fail"
        elif host.daemon.newest is not None and host.daemon.newest.state is State.SUCCEEDED:
            yield "take back"
        yield "local"
        yield "look"
        yield "tick"

    def do(self, move: Move) -> None:
        """Let it happen, and check all invariants."""
        what, subject = move
        if isinstance(subject, str) and subject:
            self._do_host(what, self.hosts[subject])
        elif what == "etcd":
            self.reachable = not self.reachable
        elif what in ("arrive", "arrive, reply lost"):
            self._deliver(int(subject), lost=what != "arrive")
        elif what == "lose":
            self.transit.pop(int(subject))
        elif what == "read":
            self.drivers[int(subject)] = self.store.everything()
        else:
            self._request(what, self.drivers[int(subject)])
        self.invariants.check(self.store, self.hosts)

    def _do_host(self, what: str, host: Host) -> None:
        daemon = host.daemon
        match what:
            case "power off":
                host.up, host.view = False, None
                self._forget(host)
            case "power on":
                host.reboot()
            case "kill agent":
                host.start()
            case "watch" | "watch own":
                self._sync(host, control=what == "watch")
            case "act":
                self._act(host)
            case "open":
                self._open(host)
            case "deadline":
                host.waits = False
            case "succeed" | "fail":
                daemon.end(what == "succeed")
            case "take back":
                daemon.take_back()
            case "local":
                daemon.busy = not daemon.busy and daemon.rolling is None
            case "look":
                host.seen = daemon.newest
            case "tick":
                host.clock += 1.0

    def _forget(self, host: Host) -> None:
        """A machine that goes down loses what is on its way to its daemon, not what is on its way to etcd."""
        self.transit = [item for item in self.transit if item.host != host.name or isinstance(item.what, Transaction)]

    def _sync(self, host: Host, *, control: bool = True) -> None:
        """Let a host see what has happened in etcd: control/, or its own keys if it has another watch for them."""
        now, view = self.store.revision, host.view
        if view is None or view.wide != is_steward(view, host.name):
            wide = view is not None and not view.wide
            host.know(self.store.everything() if wide else self.store.narrow(host.name), now)
        elif view.wide:
            host.know(view.after(self.store.between(view.revision, now), now), now)
        elif control:
            events = [item for item in self.store.between(view.revision, now) if not own(item, host.name)]
            host.know(view.after([item for item in events if watched(item, host.name)], now), host.own)
        else:
            events = [item for item in self.store.between(host.own, now) if own(item, host.name)]
            host.know(view.after(events, view.revision), now)

    def _act(self, host: Host) -> None:
        if host.view is None:
            return
        act = self.act(host.view, host)
        if isinstance(act, Write):
            self._send(host, act.transaction)
        elif isinstance(act, Begin):
            host.request(act)
            self._send(host, act)
        elif isinstance(act, Abort):
            self._send(host, act)

    def _open(self, host: Host) -> None:
        if host.view is not None:
            done = self.open(host.view, host)
            host.bake = done.bake
            if done.transaction is not None:
                self._send(host, done.transaction)

    def _send(self, host: Host, what: Transaction | Begin | Abort) -> None:
        if sum(1 for item in self.transit if item.host == host.name) < IN_FLIGHT:
            host.waits = True
            self.transit.append(Message(host.name, host.boot, host.invocation, what))

    def _deliver(self, index: int, *, lost: bool) -> None:
        message = self.transit.pop(index)
        host, what = self.hosts[message.host], message.what
        listens = not lost and host.up and host.invocation == message.invocation and host.boot == message.boot
        if isinstance(what, Transaction):
            if self.reachable:
                self.store.apply(what, self.invariants.before)
            host.waits = host.waits and not listens
        elif isinstance(what, Begin):
            problem = host.daemon.begin(what)
            if listens:
                host.answer(what, problem)
        else:
            rolling = host.daemon.rolling
            if rolling is not None and rolling.token == what.token:
                host.daemon.end(good=False)
            if listens:
                host.waits, host.aborted = False, what.token

    def _request(self, what: str, view: View) -> None:
        """Send what a driver wants; it may have read its view long ago."""
        try:
            transaction = self._transaction(what, view)
        except DeploydError:
            return
        self.store.apply(transaction, self.invariants.before)

    def _transaction(self, what: str, view: View) -> Transaction:
        self.goals += 1
        name = f"goal-{self.goals}"
        match what:
            case "rollout":
                return set_goal(view, self.goal(name), NOW)
            case "rollback":
                return rollback_of(view, name, NOW)
            case "abort":
                return abort_of(view, name, NOW)
            case "pause":
                return pause("root")
            case "resume":
                return resume(view)
        change = forget if what == "forget" else release_slot
        return change(view, f"web{self.goals % self.plan.hosts}", NOW)

    def goal(self, name: str) -> Goal:
        hosts = order.ordered({host: f"machine-{host}" for host in self.hosts}, name)
        return Goal(
            name,
            Kind.ROLLOUT,
            hosts,
            order.batches(self.plan.batches, len(hosts)),
            f"v{self.goals}",
            max_failures=self.plan.max_failures,
            bake=self.plan.bake,
            on_failure=self.plan.on_failure,
        )

    def settle(self, rounds: int = 400) -> FleetVerdict:
        """Leave the fleet alone: nothing fails any more, and hosts that are off stay off. Return what it is then.

        Raises AssertionError if it never rests.
        """
        self.reachable = True
        assert self.proceed(rounds), "the fleet never rests"
        return verdict(self.store.everything())

    def proceed(self, rounds: int) -> bool:
        """Let all hosts do what they want, and all messages arrive. Return True if nothing is left to do."""
        for _ in range(rounds):
            before = self.store.revision, self._asleep()
            while self.transit:
                self._deliver(0, lost=False)
            for host in self.hosts.values():
                if host.up:
                    self._rest(host)
            self.invariants.check(self.store, self.hosts)
            if not self.transit and before == (self.store.revision, self._asleep()):
                return True
        return False

    def _asleep(self) -> tuple[object, ...]:
        return tuple((host.daemon.newest, host.seen, host.sent, host.bake) for host in self.hosts.values())

    def _rest(self, host: Host) -> None:
        host.waits, host.clock, host.daemon.busy = False, host.clock + self.plan.bake, False
        if host.daemon.rolling is not None:
            release, _ = host.daemon.releases[host.daemon.rolling.token]
            host.daemon.end(good=release == "v0" or host.name not in self.fails)
        host.seen = host.daemon.newest
        self._sync(host)
        self._sync(host, control=False)
        self._sync(host)
        self._act(host)
        if not host.waits:
            self._open(host)
