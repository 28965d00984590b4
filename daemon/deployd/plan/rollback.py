"""The target of `deployd rollback`: never a generation known to be bad, and never back and forth between two."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deployd.errors import InvalidRequest, Refused
from deployd.model import advice
from deployd.model.generation import Cause, Entry, Result
from deployd.plan.fence import highest

BAD = (Result.FAILED, Result.ROLLED_BACK)


def rollback_target(
    generations: Sequence[Entry], current: int, to: int = 0, *, past_irreversible: bool = False
) -> Entry:
    """Return the generation to roll back to from `current`: `to`, or for 0 the last good one with another process.

    After a generation that was rolled back automatically or aborted, only an explicit `to` leads anywhere.
    `generations` are all of the app, newest first. Raises InvalidRequest, and Refused with what to do instead.
    """
    at = next(item for item in generations if item.number == current)
    if to:
        goal = _named(generations, at, to)
    else:
        goal = last_good(generations, at)
        _refuse_a_second(generations, goal)
    barrier = next(iter(irreversible_between(generations, goal.number, current)), None)
    if barrier is not None and not past_irreversible:
        raise Refused(
            f"generation {barrier} of {at.app} is irreversible, and generation {goal.number} is older; to roll back"
            f" nevertheless, run {advice.deployd()} rollback {at.app} --to {goal.number} --past-irreversible"
        )
    return goal


def known_bad(generations: Iterable[Entry]) -> frozenset[str]:
    """Return fingerprints whose rollout failed or that were left by a rollback, and that have not succeeded since.

    An aborted or superseded rollout does not make its fingerprint bad.
    """
    return frozenset(fingerprint for fingerprint, verdict in _verdicts(generations).items() if verdict.bad)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The last verdict on a fingerprint, and the generations on which it is based."""

    bad: bool
    numbers: tuple[int, ...]


def _verdicts(generations: Iterable[Entry]) -> dict[str, _Verdict]:
    """Map fingerprints to the last verdict on them, if there is one."""
    oldest_first = sorted(generations, key=lambda item: item.number)
    fingerprints = {item.number: item.fingerprint for item in oldest_first}
    verdicts: dict[str, _Verdict] = {}
    for item in oldest_first:
        if item.result in BAD:
            verdicts[item.fingerprint] = _Verdict(True, (item.number,))
        elif item.result is Result.SUCCEEDED:
            if item.cause.rolls_back and item.origin is not None and item.origin in fingerprints:
                verdicts[fingerprints[item.origin]] = _Verdict(True, (item.number, item.origin))
            verdicts[item.fingerprint] = _Verdict(False, (item.number,))
    return verdicts


def kept(generations: Sequence[Entry], current: int | None, newest: int, needed: Iterable[int] = ()) -> frozenset[int]:
    """Return the numbers of the generations to keep: the `newest` ones, the current one, the target of a rollback, the
    last irreversible one, the one with the highest token of a fleet, those `needed`, and for each of them the
    generations that decide whether it is bad.

    `generations` are all of the app, newest first. Without the others :func:`rollback_target` returns the same.
    """
    by_number = {item.number: item for item in generations}
    numbers = {item.number for item in generations[:newest]} | {number for number in needed if number in by_number}
    if (fence := highest(generations)) is not None:
        numbers.add(fence.number)
    if current is not None and current in by_number:
        numbers |= {current, *irreversible_between(generations, 0, current)[:1]}
        with contextlib.suppress(Refused):
            numbers.add(last_good(generations, by_number[current]).number)
    verdicts, open_ = _verdicts(generations), set(numbers)
    while open_:
        item = by_number[open_.pop()]
        if item.result is Result.SUCCEEDED:
            more = set(verdicts[item.fingerprint].numbers) - numbers
            numbers |= more
            open_ |= more
    return frozenset(numbers)


def good(generations: Iterable[Entry], bad: frozenset[str]) -> list[Entry]:
    """Return the possible targets of a rollback, in the order given."""
    return [item for item in generations if item.result is Result.SUCCEEDED and item.fingerprint not in bad]


def irreversible_between(generations: Iterable[Entry], goal: int, current: int) -> list[int]:
    """Return the irreversible generations that were live after `goal`, up to and including `current`."""
    return [
        item.number
        for item in generations
        if item.irreversible and item.result is Result.SUCCEEDED and goal < item.number <= current
    ]


def last_good(generations: Sequence[Entry], at: Entry) -> Entry:
    """Return the last good generation with another process than `at`. Raises Refused if there is none."""
    bad = known_bad(generations)
    before = [item for item in generations if item.number < at.number and item.fingerprint != at.fingerprint]
    for item in good(before, bad):
        return item
    known = ", ".join(str(item.number) for item in reversed(before) if item.fingerprint in bad)
    skipped = f" ({known} known to be bad)" if known else ""
    raise Refused(
        f"{at.app} has no good generation before {at.number} to roll back to{skipped};"
        f" to roll out any release, run {advice.deployd()} rollout {at.app} --release DIR"
    )


def _named(generations: Sequence[Entry], at: Entry, to: int) -> Entry:
    goal = next((item for item in generations if item.number == to), None)
    if goal is None:
        raise InvalidRequest(f"{at.app} has no generation {to}; see {advice.deployd()} history {at.app}")
    return goal


def _refuse_a_second(generations: Sequence[Entry], goal: Entry) -> None:
    """Raise Refused if the newest release failed or was aborted, and has gone: what is live now is the good one.

    A rollback that failed or was aborted leaves what was to be replaced: the next is one to another generation.
    """
    newest, app = generations[0], goal.app
    gone = newest.result in (*BAD, Result.ABORTED) and not newest.cause.rolls_back
    if not gone and not (newest.result is Result.SUCCEEDED and newest.cause is Cause.WATCH):
        return
    left, live = (newest.number, newest.origin) if gone else (newest.origin, newest.number)
    how = "was aborted" if newest.result is Result.ABORTED else "was rolled back automatically"
    raise Refused(
        f"generation {left} of {app} {how}, and generation {live} is current again; to roll that back as well, run"
        f" {advice.deployd()} rollback {app} --to {goal.number}"
    )


def doubt(generations: Sequence[Entry], goal: Entry) -> str:
    """Return why a rollback to `goal` may not lead to something good; "" if nothing is known against it."""
    if goal.result is not Result.SUCCEEDED:
        return f"generation {goal.number} never went live (it ended {goal.result})"
    if goal.fingerprint in known_bad(generations):
        return f"generation {goal.number} is known to be bad: {_why(generations, goal)}"
    return ""


def _why(generations: Iterable[Entry], goal: Entry) -> str:
    """Return the latest reason why the process of `goal` is known to be bad; `generations` are newest first."""
    same = {item.number for item in generations if item.fingerprint == goal.fingerprint}
    for item in generations:
        if item.number in same and item.result in BAD:
            end = "failed" if item.result is Result.FAILED else "was rolled back"
            return f"generation {item.number} with the same process {end}"
        if item.cause.rolls_back and item.result is Result.SUCCEEDED and item.origin in same:
            return f"generation {item.number} was a rollback from it"
    return "it failed"
