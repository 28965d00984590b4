"""A host of the model: a daemon with its real fence, and an agent that loses all it knows when it is killed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from deployd.errors import Refused
from deployd.model.fleet import FleetRequest
from deployd.model.generation import Cause, Entry, Result
from deployd.plan.fence import made
from deployd_cli.fleet.steward import Bake
from deployd_cli.fleet.turn import Begin, Me, Rollout, State
from deployd_cli.fleet.view import View

RIGHT = datetime(2026, 11, 27, tzinfo=UTC)


@dataclass(slots=True)
class Daemon:
    """What survives a reboot: generations, what is live, and a rollout in progress."""

    generations: list[Entry] = field(default_factory=list)
    states: dict[int, Rollout] = field(default_factory=dict)
    """By token."""
    releases: dict[int, tuple[str, str]] = field(default_factory=dict)
    """By token: the release, and the one that was live before."""
    live: str = "v0"
    busy: bool = False
    """Another rollout is in progress, which no fleet has requested."""

    @property
    def rolling(self) -> Rollout | None:
        return next((item for item in self.states.values() if item.state is State.ROLLING), None)

    @property
    def newest(self) -> Rollout | None:
        return self.states[max(self.states)] if self.states else None

    def begin(self, request: Begin) -> str:
        """Do what the daemon does; return why it is refused, "" if it is not. A request may come late and twice."""
        try:
            known = made(self.generations, FleetRequest(request.fleet, request.token), request.release)
        except Refused as problem:
            return str(problem)
        if known is not None or self.busy or self.rolling is not None:
            return ""  # attached, or Busy: the agent requests it again
        entry = Entry(
            "shop",
            len(self.generations) + 1,
            request.release,
            "",
            Cause.ROLLOUT,
            Result.RUNNING,
            "",
            0.0,
            fleet=request.fleet,
            token=request.token,
        )
        assert all(token < request.token for token in self.states), "an older goal was begun after a newer one"
        self.generations.insert(0, entry)
        self.states[request.token] = Rollout(request.token, State.ROLLING)
        self.releases[request.token] = (request.release, self.live)
        return ""

    def end(self, good: bool) -> None:
        rollout = self.rolling
        assert rollout is not None
        if good:
            self.live = self.releases[rollout.token][0]
        state = State.SUCCEEDED if good else State.FAILED
        self.states[rollout.token] = Rollout(rollout.token, state, "" if good else "it crashed")

    def take_back(self) -> None:
        newest = self.newest
        assert newest is not None
        self.live = self.releases[newest.token][1]
        self.states[newest.token] = Rollout(newest.token, State.TAKEN_BACK, "it crashed later")


@dataclass(slots=True)
class Host:
    name: str
    daemon: Daemon = field(default_factory=Daemon)
    up: bool = True
    boot: int = 1
    invocation: int = 0
    """Grows with each start of the agent; the agent runs if `view` is not None."""
    view: View | None = None
    own: int = 0
    """The revision up to which the own keys are known, which may differ from that of the view."""
    seen: Rollout | None = None
    """What the agent has last read from the daemon."""
    sent: int = 0
    aborted: int = 0
    refused: Rollout | None = None
    bake: Bake | None = None
    clock: float = 0.0
    waits: bool = False
    """For a reply."""

    def start(self) -> None:
        self.invocation += 1
        self.view, self.own, self.waits = None, 0, False
        self.sent = self.aborted = 0
        self.refused = self.bake = None
        self.seen = self.daemon.newest

    def reboot(self) -> None:
        self.boot += 1
        self.clock = 0.0
        self.up = True
        self.start()

    @property
    def wall_clock(self) -> datetime:
        """Hours before or behind those of other hosts, and moved by each boot: nothing may depend on it."""
        return RIGHT + timedelta(
            hours=3 * int(self.name.removeprefix("web")) + (self.boot if self.boot % 2 else -self.boot)
        )

    @property
    def me(self) -> Me:
        return Me(
            self.name,
            f"machine-{self.name}",
            str(self.boot),
            str(self.invocation),
            self.wall_clock.isoformat(),
            self.daemon.live,
            self.seen,
            self.daemon.busy,
            self.sent,
            self.aborted,
            self.refused,
        )

    def request(self, begin: Begin) -> None:
        self.sent = begin.token
        self.waits = True

    def answer(self, begin: Begin, problem: str) -> None:
        """Take the reply of the daemon."""
        self.waits = False
        self.seen = self.daemon.newest
        if problem:
            self.refused = Rollout(begin.token, State.FAILED, problem)

    def know(self, view: View, own: int) -> None:
        self.view, self.own = replace(view), own
