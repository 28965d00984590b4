"""Whether a generation on probation has failed, and which generation it is taken back to. Pure.

- A generation fails if its instances crash `limit` times: three times, or once for every ten instances if that is more.
  Of one instance at most three crashes count, so one of many cannot fail the generation: it may have a reason of its
  own, such as a drop-in.
- Crashes are compared with those of the generation to return to, in a span as long as the probation: if that crashed
  half as often, the new one is no worse. Crashes at the time of one in another app that usually runs well are the
  machine's. Those of instances that ran while an address was closed are not logged (plan/closed_address.py).
- A generation fails if one in ten of its instances, and at least one, fails FAILURES probes in a row, or hangs.
- Nothing is taken back twice: a rollback is watched, but it only leads to a report. A generation that starts the same
  process as the one before has nothing better to return to; if that one was on probation, it inherits the probation.

Times are CLOCK_MONOTONIC seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from deployd.errors import DeploydError
from deployd.model.clock import Timestamp
from deployd.model.crashes import Crash
from deployd.model.failure import Failure, GateName
from deployd.model.generation import Entry, Generation
from deployd.model.instance import Instance, State
from deployd.model.instances import Instances
from deployd.model.pace import OnFailure
from deployd.model.probation import Probation
from deployd.plan.rollback import rollback_target

SEVERAL = 3
"""Crashes that are more than an accident."""

ONE_IN = 10
"""One crash for so many instances may be an accident."""

FAILURES = 3
"""Probes that fail in a row: fewer may be an accident."""

CALM = 10.0
"""Seconds between two probes of an instance."""

LEAST = 10
"""Probes of an instance during a probation, at least, so that enough of them can fail."""

SAME_TIME = 10.0
"""Seconds within which crashes of two apps have the same reason."""

USUALLY = 600.0
"""Seconds without a crash after which an app usually runs well."""

SETTLING = 1.0
"""Seconds between the last crash and the decision, in which crashes of other apps are noticed, too."""


def begun(
    target: Generation, past: Sequence[Entry], before: Probation | None, lasted: float, now: Timestamp
) -> Probation | None:
    """Return the probation of `target`, whose rollout lasted for `lasted` seconds and has just succeeded.

    `past` are all generations, newest first; `before` is the probation of the generation before. None for no probation.
    """
    watch = target.settings.pace.watch
    if not watch:
        return None
    fingerprints = {item.number: item.fingerprint for item in past}
    fresh = _fresh(target, past, fingerprints, watch, now.monotonic - lasted, now)
    if before is None or before.failed or fingerprints.get(before.generation) != target.fingerprint:
        return fresh
    left = resumed(before, now)
    return replace(fresh, origin=before.origin, stays=before.stays, until=left.until, ends=left.ends)


def _fresh(
    target: Generation,
    past: Sequence[Entry],
    fingerprints: Mapping[int, str],
    watch: float,
    started: float,
    now: Timestamp,
) -> Probation:
    origin, stays = _origin(target, past, fingerprints)
    since, until = started - watch, now.monotonic + watch
    return Probation(
        target.app,
        target.number,
        origin,
        stays,
        since=since,
        began=now.monotonic,
        until=until,
        boot=now.boot,
        ends=now.wall + watch,
    )


def _origin(target: Generation, past: Sequence[Entry], fingerprints: Mapping[int, str]) -> tuple[int | None, str]:
    """Return the generation to return to, or None and why a failure is only reported."""
    if target.cause.rolls_back:
        return None, "it is a rollback already"
    if target.origin is None:
        return None, "there is no generation before it"
    if fingerprints.get(target.origin) == target.fingerprint:
        return None, f"generation {target.origin} starts the same process"
    if target.irreversible:
        return None, "it is irreversible"
    if target.settings.pace.on_failure is OnFailure.PAUSE:
        return None, 'on_failure is "pause"'
    try:
        return rollback_target(past, target.number).number, ""
    except DeploydError as error:
        return None, str(error)


def resumed(probation: Probation, now: Timestamp) -> Probation:
    """Return the probation on the clock of the present boot: after a reboot it lasts as long as was left of it."""
    if probation.boot == now.boot:
        return probation
    left = min(max(0.0, probation.ends - now.wall), probation.until - probation.began)
    began = now.monotonic
    # Crashes of another boot do not count, for neither generation.
    return replace(probation, since=began, began=began, until=began + left, boot=now.boot, ends=now.wall + left)


def calm(watch: float) -> float:
    """Return the seconds between two probes of an instance."""
    return min(CALM, watch / LEAST)


def probed(probation: Probation, seen: Iterable[Instance]) -> list[Instance]:
    """Return the instances to probe."""
    return [item for item in seen if item.generation == probation.generation and item.state is State.READY]


def limit(instances: int) -> int:
    """Return how many crashes of so many instances fail a generation."""
    return max(SEVERAL, _tenth(instances))


def counted(
    probation: Probation, crashes: Iterable[Crash], others: Mapping[str, Collection[float]]
) -> tuple[Crash, ...]:
    """Return the crashes of the generation that are its own, oldest first. `others`: times of crashes by other app."""
    ours = (item for item in crashes if item.generation == probation.generation and item.at >= probation.began)
    return tuple(sorted((item for item in ours if not _shared(item.at, others)), key=lambda item: item.at))


def _shared(at: float, others: Mapping[str, Collection[float]]) -> bool:
    """True if another app crashed at the same time, and not before for long."""
    return any(
        any(abs(time - at) <= SAME_TIME for time in times)
        and not any(SAME_TIME < at - time <= USUALLY for time in times)
        for times in others.values()
    )


def crashed(probation: Probation, instances: int, ours: Sequence[Crash], crashes: Iterable[Crash]) -> Failure | None:
    """Return the failure of a generation of so many `instances` whose `counted` crashes are `ours`, if it has failed.

    `crashes` are those of all generations.
    """
    by_instance = Counter(item.instance for item in ours)
    before = sum(item.generation == probation.origin and item.at >= probation.since for item in crashes)
    points = sum(min(count, SEVERAL) for count in by_instance.values())
    if points < limit(instances) or len(ours) <= 2 * before:
        return None
    last = ours[-1]
    which, times = _numbers(by_instance), "once" if len(ours) == 1 else f"{len(ours)} times"
    span = max(1, round(last.at - probation.began))
    reason = f"{which} crashed {times} within {span} s after the rollout{f': {last.why}' if last.why else ''}"
    return Failure(GateName.WATCH, reason, instance=last.instance, waited_for="to stay up after the rollout")


def unanswered(probation: Probation, instances: int, seen: Iterable[Instance], words: str) -> Failure | None:
    """Return the failure of a generation of so many `instances` of which too many fail their probe."""
    bad = [item for item in probed(probation, seen) if item.probe_failures >= FAILURES]
    if not bad or len(bad) < _tenth(instances):
        return None
    last = max(bad, key=lambda item: item.probe_failures)
    which = _numbers(item.number for item in bad)
    reason = f"{which} failed {last.probe_failures} probes in a row after the rollout: {last.probe_error}"
    return Failure(GateName.WATCH, reason, instance=last.number, waited_for=words)


def hung(probation: Probation, instances: int, seen: Iterable[Instance], limit: float, now: float) -> Failure | None:
    """Return the failure of a generation of so many `instances` of which too many hang, for `limit` seconds or more."""
    bad = [(item.hang, item.number) for item in probed(probation, Instances.of(seen).others) if item.hang is not None]
    if not bad or len(bad) < _tenth(instances):
        return None
    first, number = min(bad, key=lambda item: (item[0].since, item[1]))
    which = _numbers(number for _, number in bad)
    reason = f"{which} hung after the rollout: instance {number} {first.words(now)}"
    waited_for = f"an answer to any request within {limit:g} s"
    return Failure(GateName.WATCH, reason, instance=number, waited_for=waited_for, waited=round(now - first.since, 3))


def _numbers(instances: Iterable[int]) -> str:
    found = sorted(instances)
    return f"instance{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}"


def _tenth(instances: int) -> int:
    return -(-instances // ONE_IN)
