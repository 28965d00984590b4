"""Crash loops: when an instance that crashes repeatedly is kept stopped, and for how long.

systemd restarts a crashed instance (Restart=always) indefinitely, because its own start limit, which would close the
socket, is disabled. `judge` is called after every observation. Its rules:

- An exit with status 0 of a process that ran for STEADY_ENOUGH is no crash: servers end so to be started afresh.
- Each invocation crashes once: systemd is about to start the instance again, or has already started a new invocation.
- From the `limit`-th crash on (`limit` within `window`, none after `steady` seconds of being ready) each crash is
  followed by a stop and, after a delay that doubles up to `longest`, by a start.
- An instance whose release cannot be entered, because a file system is not mounted yet, is kept stopped from its first
  crash on, for `longest_absent` at most: it waits.
- Staying ready for `steady` seconds forgives all crashes. So does a new pin: it is an instance of another generation.
- An instance that was stopped by request stays down. It may be failed, if its process exited with an error then.
- One that ended without a request and that systemd does not start again, as after RestartPreventExitStatus=, is started
  after GRACE: systemd reports an instance as down for an instant before each automatic restart.

Pure. Times are CLOCK_MONOTONIC seconds, time spans are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from deployd.model.crashes import Crashes
from deployd.model.instance import Instance, State

CHDIR = 200
"""The exit status of a process that could not enter its working directory, the release (systemd.exec(5))."""

GRACE = 2.0
"""Seconds that systemd gets to restart an instance that ended without a request."""


STEADY_ENOUGH = 1.0
"""Seconds that a process must have run so that its exit with status 0 is no crash."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often an instance may crash, and how long it is kept stopped."""

    limit: int = 5
    window: float = 300.0
    steady: float = 60.0
    shortest: float = 1.0
    longest: float = 300.0
    longest_absent: float = 10.0
    """For an instance that waits for its release."""

    def limit_of(self, *, absent: bool) -> int:
        """Return how often an instance may crash in a row before it is kept stopped."""
        return 1 if absent else self.limit

    def delay(self, crashes: int, *, absent: bool = False) -> float:
        """Return how long an instance stays stopped after so many crashes in a row; 0 below the limit. `absent`: it
        waits for its release."""
        limit = self.limit_of(absent=absent)
        if crashes < limit:
            return 0.0
        # Bounded at 32 doublings, which is longer than any delay, to avoid an overflow.
        delay = self.shortest * 2.0 ** min(crashes - limit, 32)
        return min(self.longest_absent if absent else self.longest, delay)


class Step(StrEnum):
    """What to do with an instance."""

    NOTHING = ""
    STOP = "stop"
    """Keep it stopped, because systemd would restart it at once."""
    START = "start"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to remember about an instance from now on, and what to do with it."""

    crashes: Crashes
    step: Step = Step.NOTHING
    wake_at: float | None = None
    """When to judge it again even if nothing changes."""
    deaths: int = 0
    """How many crashes are new."""


def forgiven(item: Instance, known: Crashes | None = None) -> Crashes:
    """Return what to remember about an instance whose past crashes are forgiven. Its restarts still count."""
    before = known.before if known is not None and known.generation == item.generation else 0
    dead = item.state is State.FAILED
    return Crashes(item.generation, item.invocation_id, item.restarts, dead=dead, before=before)


def restarts(known: Crashes | None, item: Instance) -> int:
    """Return how often systemd and deployd have restarted an instance automatically, in its generation.

    systemd reports none for an instance that is down.
    """
    if known is None or known.generation != item.generation:
        return item.restarts
    return known.before + max(item.restarts, known.restarts)


def judge(known: Crashes | None, item: Instance, now: float, patience: Patience, *, tried: bool = False) -> Judgement:
    """Judge an instance for which deployd has no job in progress. `tried`: deployd has just tried to start it."""
    if known is None or known.generation != item.generation:
        # Crashes before the first observation do not count, but a failed instance has crashed now.
        known = replace(forgiven(item), dead=False)
    if item.state is State.STANDBY:
        return Judgement(forgiven(item, known))  # frozen, so it cannot crash by its own fault
    if item.state in (State.STOPPING, State.DRAINING):
        return Judgement(known)
    if item.ended and item.state in (State.INACTIVE, State.FAILED) and not item.refused:
        return _ended(known, item, now, patience)
    if item.state is State.INACTIVE:
        return _down(known, now, tried)
    if tried and item.state is State.FAILED and not item.restarting and item.invocation_id != known.invocation:
        # It had started and was then stopped by request.
        now_known = replace(known, invocation=item.invocation_id, restarts=item.restarts, dead=True)
        return Judgement(replace(now_known, retry_at=None))
    if tried:
        # The start by deployd has reset systemd's counter.
        known = replace(known, before=known.before + known.restarts + 1, restarts=0, dead=False)
    deaths, seen = _deaths(known, item, tried)
    if deaths:
        seen = _crashed(seen, known, deaths, item, now, patience)
        deaths = 0 if seen.absent else deaths  # no fault of the generation
        if item.state is not State.READY and seen.count >= patience.limit_of(absent=seen.absent):
            retry_at = now + patience.delay(seen.count, absent=seen.absent)
            return Judgement(replace(seen, retry_at=retry_at), Step.STOP, retry_at, deaths)
    if item.restarting and seen.count < patience.limit_of(absent=seen.absent):
        seen = replace(seen, retry_at=None)  # systemd starts it, after all
    failed = item.state is State.FAILED
    judgement = _failed(seen, now) if failed else _up(replace(seen, retry_at=None), item, now, patience)
    return replace(judgement, deaths=deaths)


def _down(known: Crashes, now: float, tried: bool) -> Judgement:
    if known.retry_at is None:
        return Judgement(known)
    if tried:
        return Judgement(replace(known, retry_at=None))  # it was running and was then stopped by request
    if now >= known.retry_at:
        return Judgement(known, Step.START)
    return Judgement(known, wake_at=known.retry_at)


def _ended(known: Crashes, item: Instance, now: float, patience: Patience) -> Judgement:
    """Judge an instance that ended without a request and that systemd does not start again."""
    seen = known
    if item.invocation_id != known.invocation or not known.dead:
        seen = replace(known, invocation=item.invocation_id, restarts=item.restarts, dead=True)
        crashed = not _is_clean(item)
        if crashed:
            seen = _crashed(seen, known, 1, item, now, patience)
        waiting = _wait(replace(seen, retry_at=now + max(GRACE, patience.delay(seen.count, absent=seen.absent))))
        return replace(waiting, deaths=int(crashed))
    if seen.retry_at is None:
        return _wait(replace(seen, retry_at=now + GRACE))
    return Judgement(seen, Step.START) if now >= seen.retry_at else _wait(seen)


def _wait(seen: Crashes) -> Judgement:
    return Judgement(seen, wake_at=seen.retry_at)


def _failed(seen: Crashes, now: float) -> Judgement:
    if seen.retry_at is None:
        return Judgement(seen)
    if now >= seen.retry_at:
        return Judgement(seen, Step.START)
    # It should be stopped: the stop failed, or the daemon was killed before it.
    return Judgement(seen, Step.STOP, seen.retry_at)


def _up(seen: Crashes, item: Instance, now: float, patience: Patience) -> Judgement:
    if item.state is not State.READY or not seen.count:
        return Judgement(seen)
    if seen.absent:
        return Judgement(forgiven(item, seen))  # its release is there now
    until = item.ready_since + patience.steady
    return Judgement(forgiven(item, seen)) if now >= until else Judgement(seen, wake_at=until)


def _deaths(known: Crashes, item: Instance, tried: bool) -> tuple[int, Crashes]:
    """Return the number of crashes since the last observation, and what is known about the current invocation."""
    deaths = 0
    if item.invocation_id != known.invocation:
        # Never negative: after a start by request systemd counts from 0 again.
        deaths = max(0, item.restarts - known.restarts - known.dead)
        known = replace(known, invocation=item.invocation_id, restarts=item.restarts, dead=False)
    if item.state is State.FAILED and (tried or (item.restarting and not known.dead)):
        deaths += not _is_clean(item)
        known = replace(known, dead=True)
    return deaths, known


def _is_clean(item: Instance) -> bool:
    """True if an instance that was ready has exited with status 0, and not at once."""
    return item.exit_status == 0 and item.was_ready and (item.ran or 0.0) >= STEADY_ENOUGH


def _crashed(seen: Crashes, known: Crashes, deaths: int, item: Instance, now: float, patience: Patience) -> Crashes:
    died = item.invocation_id if item.state is State.FAILED or item.ended else known.invocation
    # A unit that was restarted at once may not report its end any more; then the reason of the crash before is kept.
    reported = item.exit_status is not None or item.signal is not None or not seen.why
    absent = item.exit_status == CHDIR if reported else seen.absent
    if absent is not seen.absent:
        seen = replace(seen, absent=absent, count=0, times=())
    seen = replace(seen, why=item.detail if reported else seen.why, last=died, at=now)
    if seen.count >= patience.limit:
        return replace(seen, count=seen.count + deaths)
    times = (*(time for time in seen.times if time > now - patience.window), *[now] * deaths)
    return replace(seen, count=len(times), times=times[: patience.limit])
