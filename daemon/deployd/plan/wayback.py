"""Which generation `deployd rollback` goes to, or why none: never to and fro, never to what is known to be bad."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deployd.errors import InvalidRequest, Refused
from deployd.model.generation import Cause, Entry, Result

BAD = (Result.FAILED, Result.ROLLED_BACK)


def way_back(generations: Sequence[Entry], current: int, to: int = 0, *, past_irreversible: bool = False) -> Entry:
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


def known_bad(generations: Iterable[Entry]) -> frozenset[str]:
    """Fingerprints whose rollout failed, or that the app was rolled back away from, and that have not succeeded since.

    An abort or a newer rollout that took over says nothing about what was being rolled out.
    """
    return frozenset(fingerprint for fingerprint, verdict in _verdicts(generations).items() if verdict.bad)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What was last learned about a fingerprint, and from which generations."""

    bad: bool
    numbers: tuple[int, ...]


def _verdicts(generations: Iterable[Entry]) -> dict[str, _Verdict]:
    """The last verdict on each fingerprint that has one."""
    oldest_first = sorted(generations, key=lambda item: item.number)
    fingerprints = {item.number: item.fingerprint for item in oldest_first}
    verdicts: dict[str, _Verdict] = {}
    for item in oldest_first:
        if item.result in BAD:
            verdicts[item.fingerprint] = _Verdict(True, (item.number,))
        elif item.result is Result.SUCCEEDED:
            if item.cause is Cause.ROLLBACK and item.origin is not None and item.origin in fingerprints:
                verdicts[fingerprints[item.origin]] = _Verdict(True, (item.number, item.origin))
            verdicts[item.fingerprint] = _Verdict(False, (item.number,))
    return verdicts


def kept(generations: Sequence[Entry], current: int | None, newest: int, needed: Iterable[int] = ()) -> frozenset[int]:
    """Return the numbers of the generations to remember: the `newest` ones, the current one, the target of a rollback,
    the last irreversible one, those `needed`, and for each of them the generations that decide whether it is bad.

    `generations` are all of the app, newest first. :func:`way_back` gives the same answer with and without the others.
    """
    by_number = {item.number: item for item in generations}
    numbers = {item.number for item in generations[:newest]} | {number for number in needed if number in by_number}
    if current is not None and current in by_number:
        numbers |= {current, *irreversible_between(generations, 0, current)[:1]}
        with contextlib.suppress(Refused):
            numbers.add(way_back(generations, current, past_irreversible=True).number)
    verdicts, open_ = _verdicts(generations), set(numbers)
    while open_:
        item = by_number[open_.pop()]
        if item.result is Result.SUCCEEDED:
            more = set(verdicts[item.fingerprint].numbers) - numbers
            numbers |= more
            open_ |= more
    return frozenset(numbers)


def good(generations: Iterable[Entry], bad: frozenset[str]) -> list[Entry]:
    """Those that a rollback may lead to, in the order given."""
    return [item for item in generations if item.result is Result.SUCCEEDED and item.fingerprint not in bad]


def irreversible_between(generations: Iterable[Entry], goal: int, current: int) -> list[int]:
    """Entrys that were live after `goal` and that there is no way back past, `current` included."""
    return [
        item.number
        for item in generations
        if item.irreversible and item.result is Result.SUCCEEDED and goal < item.number <= current
    ]


def _last_good(generations: Sequence[Entry], at: Entry, bad: frozenset[str]) -> Entry:
    before = [item for item in generations if item.number < at.number and item.fingerprint != at.fingerprint]
    for item in good(before, bad):
        return item
    known = ", ".join(str(item.number) for item in reversed(before) if item.fingerprint in bad)
    skipped = f" ({known} known to be bad)" if known else ""
    raise Refused(
        f"{at.app} has no good generation before {at.number} to go back to{skipped};"
        f" deployd rollout {at.app} --release DIR rolls out any release"
    )


def _named(generations: Sequence[Entry], at: Entry, to: int, bad: frozenset[str]) -> Entry:
    goal = next((item for item in generations if item.number == to), None)
    if goal is None:
        raise InvalidRequest(f"{at.app} has no generation {to}; see deployd history {at.app}")
    instead = f"deployd rollout {at.app} --release {goal.release} rolls it out as a new one"
    if goal.result is not Result.SUCCEEDED:
        raise Refused(f"generation {to} of {at.app} never went live (it ended {goal.result}); {instead}")
    if goal.fingerprint in bad:
        raise Refused(f"generation {to} of {at.app} is known to be bad: {_why(generations, goal)}; {instead}")
    return goal


def _why(generations: Iterable[Entry], goal: Entry) -> str:
    """The last that was held against the process of `goal`; `generations` are newest first."""
    same = {item.number for item in generations if item.fingerprint == goal.fingerprint}
    for item in generations:
        if item.number in same and item.result in BAD:
            end = "failed" if item.result is Result.FAILED else "was rolled back"
            return f"generation {item.number}, the same again, {end}"
        if item.cause is Cause.ROLLBACK and item.result is Result.SUCCEEDED and item.origin in same:
            return f"generation {item.number} was a rollback from it"
    return "it failed"
