"""The goal of a rollout, with every amount resolved to a count."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from deployd.errors import InvalidRequest, Refused
from deployd.model import advice
from deployd.model.app import App
from deployd.model.gate import Gate, GateType
from deployd.model.pace import Order
from deployd.model.rollout import Hold


@dataclass(frozen=True, slots=True)
class Goal:
    """`instances` instances of `generation`, and the pace at which to get there.

    Times are in seconds; `deadline` is CLOCK_MONOTONIC.
    """

    generation: int
    instances: int
    max_surge: int = 1
    """How many instances above `instances` may run; for a rollback, what plan/surge.py allows."""
    max_unavailable: int = 0
    order: Order = Order.NEWEST_OLD_FIRST
    min_ready: float = 0.0
    same: frozenset[int] = frozenset()
    """Generations that start an identical process, whose instances are adopted."""
    deadline: float | None = None
    """When the next instance must be available; stopping old ones may take longer."""
    allowed: float | None = None
    """The time until the deadline at its start, in seconds."""
    gate: str = GateType.NOTIFY
    gate_timeout: float = 60.0
    probe_words: str = ""
    """What the probe waits for; "" if there is none."""
    fail_after: int = 0
    """Wrong answers in a row, over at least `fail_span`, with which an instance fails its probe; 0 for any number."""
    fail_span: float = 0.0
    watchdog: float = 0.0
    """The time for which an instance may answer no request while some wait; 0 for any time."""
    hold: Hold | None = None
    """Where to pause."""
    proven: bool = False
    """True if the generation has served before (a rollback, a change of the number of instances). Then an automatic
    restart of an instance is no failure, and a failed instance is started again instead of being waited for."""

    masked: frozenset[int] = frozenset()
    """Instance numbers that systemd refuses to start; a running one counts like any other."""
    special: frozenset[int] = frozenset()
    """Instance numbers with drop-ins of their own: a failure there may be theirs, so another number is tried."""
    avoid: frozenset[int] = frozenset()
    """Instance numbers that new instances must not get, because their units have the settings of an older generation.

    Those among them that run the goal's own generation are replaced like old ones, because their unit has an address
    that is to close."""
    standby: int | None = None
    """The generation (the one that serves) whose instances are frozen instead of stopped."""
    overlap: bool = True
    """False if no more than `instances` processes may ever run, those of other generations included."""
    drains: bool = False
    """Nothing waits for the end of an instance that is ready when it is stopped: it may have to finish long jobs."""

    @property
    def probe(self) -> bool:
        """True if an instance has to pass a probe."""
        return bool(self.probe_words)

    @property
    def gate_words(self) -> str:
        """What an instance must do to become ready."""
        what = "READY=1" if self.gate == GateType.NOTIFY else "the program to be executed"
        return f"{what} within {self.gate_timeout:g} s"

    @property
    def wanted(self) -> int:
        """The number of new instances before the next pause, or in the end."""
        return self.instances if self.hold is None else min(self.instances, self.hold.new)

    @property
    def kept(self) -> int:
        """The number of old instances that stay until the next pause."""
        if self.hold is None:
            return 0
        return self.instances if self.hold.canary else max(0, self.instances - self.hold.new)

    @property
    def floor(self) -> int:
        """The number of instances that stay available throughout."""
        return max(0, self.instances - self.max_unavailable)

    @property
    def ceiling(self) -> int:
        """The number of instances that may be alive at a time."""
        canary = self.hold.new if self.hold is not None and self.hold.canary else 0
        return self.instances + max(self.max_surge, canary)

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
        """Make a goal from the settings of an app."""
        surge = app.pace.max_surge.of(app.instances, round_up=True)
        return cls(
            generation=generation,
            instances=app.instances,
            max_surge=surge,
            max_unavailable=_unavailable(app, surge),
            order=app.pace.order,
            min_ready=app.gate.min_ready,
            same=same - {generation},
            deadline=deadline,
            allowed=app.pace.deadline,
            gate=app.gate.type,
            gate_timeout=app.gate.timeout,
            probe_words=_words(app.gate),
            fail_after=app.gate.fail_after,
            fail_span=app.gate.fail_span,
            watchdog=app.gate.watchdog,
            hold=hold,
            proven=proven,
            overlap=app.overlap,
            drains=app.overlap and not app.listen,
        )

    def surging(self, app: App, surge: int) -> Goal:
        """Return the goal of a rollback with so many instances above `instances`; `app` as for :meth:`of`."""
        return replace(self, max_surge=surge, max_unavailable=_unavailable(app, surge))


def canary(app: App, count: int = 0, share: float = 0.0, *, steers: bool = True) -> Hold | None:
    """Return the hold of a canary of `count` instances, or of a `share` (0 to 1) of new connections, None for neither.

    A share also determines the number of instances. `steers`: True if this machine supports the app's steering. Raises
    InvalidRequest, and Refused if connections cannot be distributed by share.
    """
    if not count and not share:
        return None
    if app.steered and steers and app.unix_only:
        raise Refused(
            f"{app.name} listens on UNIX addresses only, and these lead to one generation at a time: a canary would get"
            " no connections; add a TCP address, or roll out without a canary"
        )
    if not app.overlap:
        raise Refused(
            f"{app.name} has overlap = false, so no canary can run alongside the old instances; roll out without one"
        )
    if count and share:
        raise InvalidRequest("a canary is a number of instances or a share of new connections, not both")
    if count:
        if not 0 < count <= app.instances:
            raise InvalidRequest(
                f"a canary of {count}: must be from 1 to {app.instances}, the number of instances of {app.name}"
            )
        return Hold(count, canary=True)
    if not 0 < share <= 1:
        raise InvalidRequest(f"a canary of {share * 100:g} %: must be above 0 % and at most 100 %")
    if not app.listen:
        raise Refused(
            f"{app.name} has no listen, and thus no connections that could be distributed by share: use --canary N to"
            " start N instances alongside the old ones"
        )
    if not app.steered:
        raise Refused(
            f"{app.name} shares one socket, for which the kernel distributes connections: use --canary N to start N"
            ' instances alongside the old ones, or set routing = "steered" for shares of connections'
        )
    if not steers:
        raise Refused(
            f"{app.name} cannot be steered here ({advice.deployd()} status {app.name} gives the reason): use --canary N"
            " instead"
        )
    # Rounded, because 0.07 * 100 is a little more than 7 in floating point.
    return Hold(max(1, ceil(round(share * app.instances, 9))), canary=True, share=share)


def holds(app: App, first: Hold | None = None, *, steers: bool = True) -> tuple[Hold, ...]:
    """Return where a rollout of `app` pauses, in order: at its canary, if any, then at the later steps of pause_after.

    It does not pause when all instances are new. A percentage is a share of the instances or, if the app is steered at
    TCP addresses, of new connections and of as many instances. `steers` as for `canary`.
    """
    found: dict[float, Hold] = {}
    weighs = app.steered and steers and not app.unix_only
    for amount in app.pace.pause_after:
        new = amount.of(app.instances, round_up=True)
        hold = Hold(new, share=amount.value / 100 if weighs and amount.percent else None)
        if 0 < new < app.instances and (_extent(hold, app) not in found or hold.share is not None):
            found[_extent(hold, app)] = hold
    further = _extent(first, app) if first is not None else 0.0
    later = tuple(found[extent] for extent in sorted(found) if extent > further)
    return later if first is None else (first, *later)


def _extent(hold: Hold, app: App) -> float:
    """Return the progress of a rollout at a hold, 0 to 1."""
    return hold.new / app.instances if hold.share is None else hold.share


def _unavailable(app: App, surge: int) -> int:
    """Return how many instances of `app` may be unavailable.

    With neither surge nor unavailability no instance could ever be replaced, so then one may be.
    """
    found = min(app.pace.max_unavailable.of(app.instances, round_up=False), app.instances)
    return found if found or surge else 1


def _words(gate: Gate) -> str:
    probe = gate.probe
    if probe is None:
        return ""
    if probe.http:
        return f"GET {probe.http.partition('?')[0]} to answer {probe.expect} within {gate.timeout:g} s"
    return f"the command {probe.command[0]} to exit with {probe.expect} within {gate.timeout:g} s"
