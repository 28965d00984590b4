"""What a rollout is to reach, with every amount resolved to a count."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from deployd.errors import InvalidRequest, Refused
from deployd.model.app import App
from deployd.model.gate import Gate, GateType
from deployd.model.pace import Order
from deployd.model.rollout import Hold


@dataclass(frozen=True, slots=True)
class Goal:
    """`instances` instances of `generation`, and the pace to get there.

    Times are in seconds; `deadline` is CLOCK_MONOTONIC.
    """

    generation: int
    instances: int
    max_surge: int = 1
    max_unavailable: int = 0
    order: Order = Order.NEWEST_OLD_FIRST
    min_ready: float = 0.0
    same: frozenset[int] = frozenset()
    """Generations that start the very same process: their instances are adopted."""
    deadline: float | None = None
    """By when the next instance has to be available; taking old ones away may last longer."""
    allowed: float | None = None
    """How long that is, in seconds."""
    gate: str = GateType.NOTIFY
    gate_timeout: float = 60.0
    probe_words: str = ""
    """What the probe waits for; "" if there is none."""
    hold: Hold | None = None
    """Where to wait instead of going on."""
    proven: bool = False
    """The generation has served before (the way back, a scale): an instance that systemd had to restart is not
    held against it, and one that lies failed is started anew instead of being waited for."""

    masked: frozenset[int] = frozenset()
    """Instance numbers that systemd will not start; one that runs is as good as any."""
    avoid: frozenset[int] = frozenset()
    """Instance numbers that new instances must not get: their units hold the settings of an older generation.

    Those among them that run the goal's own generation are replaced like old ones: their unit has an address that is
    to close."""
    standby: int | None = None
    """The generation (the one that serves) whose instances are frozen when it is their turn, instead of stopped."""

    @property
    def probe(self) -> bool:
        """Whether an instance has to answer a probe."""
        return bool(self.probe_words)

    @property
    def gate_words(self) -> str:
        """What is waited for before an instance is ready."""
        what = "READY=1" if self.gate == GateType.NOTIFY else "the program to be executed"
        return f"{what} within {self.gate_timeout:g} s"

    @property
    def wanted(self) -> int:
        """New instances to have before anything else happens."""
        return self.instances if self.hold is None else min(self.instances, self.hold.new)

    @property
    def kept(self) -> int:
        """Old instances that stay for the time being."""
        if self.hold is None:
            return 0
        return self.instances if self.hold.canary else max(0, self.instances - self.hold.new)

    @property
    def floor(self) -> int:
        """Instances that stay available all the way."""
        return max(0, self.instances - self.max_unavailable)

    @property
    def ceiling(self) -> int:
        """Instances that may be alive at once."""
        beside = self.hold.new if self.hold is not None and self.hold.canary else 0
        return self.instances + max(self.max_surge, beside)

    @classmethod
    def of(
        cls,
        app: App,
        generation: int,
        *,
        same: frozenset[int] = frozenset(),
        deadline: float | None = None,
        proven: bool = False,
        hold: Hold | None = None,
    ) -> Goal:
        """From an app's settings. With neither surge nor unavailability nothing could ever move, so
        no surge means in place: one instance unavailable at a time."""
        surge = app.pace.max_surge.of(app.instances, round_up=True)
        unavailable = min(app.pace.max_unavailable.of(app.instances, round_up=False), app.instances)
        if surge == 0 and unavailable == 0:
            unavailable = 1
        return cls(
            generation=generation,
            instances=app.instances,
            max_surge=surge,
            max_unavailable=unavailable,
            order=app.pace.order,
            min_ready=app.gate.min_ready,
            same=same - {generation},
            deadline=deadline,
            allowed=app.pace.deadline,
            gate=app.gate.type,
            gate_timeout=app.gate.timeout,
            probe_words=_words(app.gate),
            hold=hold,
            proven=proven,
        )


def canary(app: App, count: int = 0, share: float = 0.0, *, steers: bool = True) -> Hold | None:
    """The hold of a canary of `count` instances, or of a `share` (0 to 1) of new connections on as many instances as
    come to it; None for neither. `steers`: this machine can do what an app that is to be steered asks for.

    Raises InvalidRequest, and Refused where nobody can give a share."""
    if not count and not share:
        return None
    if count and share:
        raise InvalidRequest("a canary is a number of instances or a share of new connections, not both")
    if count:
        if not 0 < count <= app.instances:
            raise InvalidRequest(f"canary of {count}: allowed are 1 to {app.instances}, the instances of {app.name}")
        return Hold(count, canary=True)
    if not 0 < share <= 1:
        raise InvalidRequest(f"canary of {share * 100:g} %: allowed is what is above 0 % and up to 100 %")
    if not app.steered:
        raise Refused(
            f"{app.name} shares one socket, where nobody chooses who gets a connection: --canary N starts N instances"
            ' beside the old; routing = "steered" takes shares as well'
        )
    if not steers:
        raise Refused(f"{app.name} cannot be steered here, deployd status {app.name} says why: use --canary N instead")
    # 0.07 of 100 is a little more than 7, for floats.
    return Hold(max(1, ceil(round(share * app.instances, 9))), canary=True, share=share)


def holds(app: App, first: Hold | None = None, *, steers: bool = True) -> tuple[Hold, ...]:
    """Where a rollout of `app` waits, in order: at its canary, if any, then where it has got on further than that.

    With all instances new there is nothing left to wait for. A percentage is a share of instances; of an app that is
    steered, of new connections, and of instances that come to it. `steers` as for `canary`.
    """
    found: dict[float, Hold] = {}
    for amount in app.pace.pause_after:
        new = amount.of(app.instances, round_up=True)
        hold = Hold(new, share=amount.value / 100 if app.steered and steers and amount.percent else None)
        if 0 < new < app.instances and (_extent(hold, app) not in found or hold.share is not None):
            found[_extent(hold, app)] = hold
    further = _extent(first, app) if first is not None else 0.0
    later = tuple(found[extent] for extent in sorted(found) if extent > further)
    return later if first is None else (first, *later)


def _extent(hold: Hold, app: App) -> float:
    """How far a rollout has got there, 0 to 1."""
    return hold.new / app.instances if hold.share is None else hold.share


def _words(gate: Gate) -> str:
    probe = gate.probe
    if probe is None:
        return ""
    if probe.http:
        return f"GET {probe.http.partition('?')[0]} to answer {probe.expect} within {gate.timeout:g} s"
    return f"the command {probe.command[0]} to exit with {probe.expect} within {gate.timeout:g} s"
