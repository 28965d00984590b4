"""Crash loops: when an instance that dies again and again is kept down for a while, and for how long.

systemd restarts what crashes (Restart=always) and would go on for ever, for its own start limit would close the
socket. `judge` is asked after every look at the world. Its rules:

- Each invocation dies once: systemd is about to start it again, or has put another in its place by itself.
- From the `limit`-th crash on (`limit` within `window`, none after `steady` seconds of being ready) each crash is
  followed by a stop and, after a delay that doubles up to `longest`, by a start.
- Staying ready for `steady` seconds forgives all. So does a pin that moved: it is another generation's instance.
- What is down without a time to be started at was stopped by somebody, and stays down; so does what lies failed and
  is not restarted by systemd, for that is what a stop makes of a process that does not end well.

Pure. Times are CLOCK_MONOTONIC seconds, time spans are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from deployd.model.crashes import Crashes
from deployd.model.instance import Instance, State


@dataclass(frozen=True, slots=True)
class Patience:
    """How much an instance may crash, and how long it is kept down."""

    limit: int = 5
    window: float = 300.0
    steady: float = 60.0
    shortest: float = 1.0
    longest: float = 300.0

    def delay(self, crashes: int) -> float:
        """How long an instance that crashed so often in a row stays down; 0 below the limit."""
        if crashes < self.limit:
            return 0.0
        # Doubled 32 times it is longer than anybody waits, and floats are not endless.
        return min(self.longest, self.shortest * 2.0 ** min(crashes - self.limit, 32))


class Step(StrEnum):
    """What to do with an instance."""

    NOTHING = ""
    STOP = "stop"
    """Keep it down: systemd would start it again at once."""
    START = "start"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to remember of an instance from now on, and what to do with it."""

    crashes: Crashes
    step: Step = Step.NOTHING
    wake_at: float | None = None
    """When to ask again though nothing changed."""


def forgiven(item: Instance) -> Crashes:
    """What to remember of an instance whose past is not held against it."""
    return Crashes(item.generation, item.invocation_id, item.restarts, dead=item.state is State.FAILED)


def judge(known: Crashes | None, item: Instance, now: float, patience: Patience, *, tried: bool = False) -> Judgement:
    """Judge an instance that deployd has no job under way for. `tried`: it has just tried to start it."""
    if known is None or known.generation != item.generation:
        # A past that nobody saw is nobody's fault; what lies failed before our eyes has crashed.
        known = replace(forgiven(item), dead=False)
    if item.state is State.STANDBY:
        return Judgement(forgiven(item))  # it does nothing that could be held against it
    if item.state is State.STOPPING:
        return Judgement(known)
    if item.state is State.INACTIVE:
        return _down(known, now, tried)
    if tried and item.state is State.FAILED and not item.restarting and item.invocation_id != known.invocation:
        # It had begun, and somebody stopped it.
        now_known = replace(known, invocation=item.invocation_id, restarts=item.restarts, dead=True)
        return Judgement(replace(now_known, retry_at=None))
    if tried:
        known = replace(known, restarts=0, dead=False)  # a start on purpose has set the count back
    deaths, seen = _deaths(known, item, tried)
    if deaths:
        seen = _crashed(seen, known, deaths, item, now, patience)
        if item.state is not State.READY and seen.count >= patience.limit:
            retry_at = now + patience.delay(seen.count)
            return Judgement(replace(seen, retry_at=retry_at), Step.STOP, retry_at)
    if item.state is State.FAILED:
        return _failed(seen, now)
    return _up(replace(seen, retry_at=None), item, now, patience)


def _down(known: Crashes, now: float, tried: bool) -> Judgement:
    if known.retry_at is None:
        return Judgement(known)
    if tried:
        return Judgement(replace(known, retry_at=None))  # it was up, and somebody stopped it
    if now >= known.retry_at:
        return Judgement(known, Step.START)
    return Judgement(known, wake_at=known.retry_at)


def _failed(seen: Crashes, now: float) -> Judgement:
    if seen.retry_at is None:
        return Judgement(seen)
    if now >= seen.retry_at:
        return Judgement(seen, Step.START)
    # It should be down: the stop failed, or who was about to order it died.
    return Judgement(seen, Step.STOP, seen.retry_at)


def _up(seen: Crashes, item: Instance, now: float, patience: Patience) -> Judgement:
    if item.state is not State.READY or not seen.count:
        return Judgement(seen)
    until = item.ready_since + patience.steady
    return Judgement(forgiven(item)) if now >= until else Judgement(seen, wake_at=until)


def _deaths(known: Crashes, item: Instance, tried: bool) -> tuple[int, Crashes]:
    """How often it died since it was looked at, and what is known with the invocation of now."""
    deaths = 0
    if item.invocation_id != known.invocation:
        # Not those of a unit that somebody started anew: then systemd counts from 0 again.
        deaths = max(0, item.restarts - known.restarts - known.dead)
        known = replace(known, invocation=item.invocation_id, restarts=item.restarts, dead=False)
    if item.state is State.FAILED and (tried or (item.restarting and not known.dead)):
        deaths += 1
        known = replace(known, dead=True)
    return deaths, known


def _crashed(seen: Crashes, known: Crashes, deaths: int, item: Instance, now: float, patience: Patience) -> Crashes:
    died = item.invocation_id if item.state is State.FAILED else known.invocation
    # Restarted at once, a unit may not tell any more how it ended; then the death before says more.
    told = item.exit_status is not None or item.signal is not None or not seen.why
    seen = replace(seen, why=item.detail if told else seen.why, last=died, at=now)
    if seen.count >= patience.limit:
        return replace(seen, count=seen.count + deaths)
    times = (*(time for time in seen.times if time > now - patience.window), *[now] * deaths)
    return replace(seen, count=len(times), times=times[: patience.limit])
