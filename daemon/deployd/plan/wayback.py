"""Which generation `deployd rollback` goes to, or why none: never to and fro, never to what is known to be bad."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deployd.errors import InvalidRequest, Refused
from deployd.model.generation import Cause, Generation, Result

BAD = (Result.FAILED, Result.ROLLED_BACK)


def way_back(
    generations: Sequence[Generation], current: int, to: int = 0, *, past_irreversible: bool = False
) -> Generation:
    """The generation to go back to from `current`: `to`, or for 0 the last good one that starts another process.

    `generations` are all of the app, newest first. Raises InvalidRequest, and Refused with what to do instead.
    """
    at = next(item for item in generations if item.number == current)
    bad = known_bad(generations)
    goal = _named(generations, at, to, bad) if to else _last_good(generations, at, bad)
    barrier = next(iter(irreversible_between(generations, goal.number, current)), None)
    if barrier is not None and not past_irreversible:
        raise Refused(
            f"generation {barrier} of {at.app} cannot be undone, and generation {goal.number} is before it;"
            f" deployd rollback {at.app} --to {goal.number} --past-irreversible goes there all the same"
        )
    return goal


def known_bad(generations: Iterable[Generation]) -> frozenset[str]:
    """Fingerprints whose rollout failed, or that the app was rolled back away from, and that have not succeeded since.

    An abort or a newer rollout that took over says nothing about what was being rolled out.
    """
    oldest_first = sorted(generations, key=lambda item: item.number)
    fingerprints = {item.number: item.fingerprint for item in oldest_first}
    bad: set[str] = set()
    for item in oldest_first:
        if item.result in BAD:
            bad.add(item.fingerprint)
        elif item.result is Result.SUCCEEDED:
            if item.cause is Cause.ROLLBACK and item.origin in fingerprints:
                bad.add(fingerprints[item.origin])
            bad.discard(item.fingerprint)
    return frozenset(bad)


def good(generations: Iterable[Generation], bad: frozenset[str]) -> list[Generation]:
    """Those that a rollback may lead to, in the order given."""
    return [item for item in generations if item.result is Result.SUCCEEDED and item.fingerprint not in bad]


def irreversible_between(generations: Iterable[Generation], goal: int, current: int) -> list[int]:
    """Generations that were live after `goal` and that there is no way back past, `current` included."""
    return [
        item.number
        for item in generations
        if item.irreversible and item.result is Result.SUCCEEDED and goal < item.number <= current
    ]


def _last_good(generations: Sequence[Generation], at: Generation, bad: frozenset[str]) -> Generation:
    before = [item for item in generations if item.number < at.number and item.fingerprint != at.fingerprint]
    for item in good(before, bad):
        return item
    known = ", ".join(str(item.number) for item in reversed(before) if item.fingerprint in bad)
    skipped = f" ({known} known to be bad)" if known else ""
    raise Refused(
        f"{at.app} has no good generation before {at.number} to go back to{skipped};"
        f" deployd rollout {at.app} --release DIR rolls out any release"
    )


def _named(generations: Sequence[Generation], at: Generation, to: int, bad: frozenset[str]) -> Generation:
    goal = next((item for item in generations if item.number == to), None)
    if goal is None:
        raise InvalidRequest(f"{at.app} has no generation {to}; see deployd history {at.app}")
    instead = f"deployd rollout {at.app} --release {goal.release} rolls it out as a new one"
    if goal.result is not Result.SUCCEEDED:
        raise Refused(f"generation {to} of {at.app} never went live (it ended {goal.result}); {instead}")
    if goal.fingerprint in bad:
        raise Refused(f"generation {to} of {at.app} is known to be bad: {_why(generations, goal)}; {instead}")
    return goal


def _why(generations: Iterable[Generation], goal: Generation) -> str:
    """The last that was held against the process of `goal`; `generations` are newest first."""
    same = {item.number for item in generations if item.fingerprint == goal.fingerprint}
    for item in generations:
        if item.number in same and item.result in BAD:
            end = "failed" if item.result is Result.FAILED else "was rolled back"
            return f"generation {item.number}, the same again, {end}"
        if item.cause is Cause.ROLLBACK and item.result is Result.SUCCEEDED and item.origin in same:
            return f"generation {item.number} was a rollback from it"
    return "it failed"
