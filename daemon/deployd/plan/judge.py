"""Which instances have passed the gate, and which have failed it. Pure; the planner decides what follows.

An instance of the goal has passed once it is ready, has not been restarted by systemd since its start, has passed its
probe (if there is one), and all that for `min_ready`. Afterwards it may crash and be restarted.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, replace
from heapq import merge
from itertools import chain
from typing import Any

from deployd.model.failure import Failure, GateName
from deployd.model.gate import GateType
from deployd.model.instance import OUT_OF_SERVICE, Instance, Listener, State
from deployd.model.instances import Instances, Settled
from deployd.model.remedies import OTHER_LISTENER
from deployd.plan.goal import Goal

STAY_UP = "to stay up during the rollout"

MAX_RESTARTS = 3
"""Automatic restarts of an instance after it passed the gate before its release counts as bad."""

MANY = 20
"""One in so many instances may have crashed after it passed without its release counting as bad."""


def belongs(item: Instance, goal: Goal, now: float) -> bool:
    """True if a running instance is the goal's, or will be once it is adopted.

    One whose number is to be avoided has the unit of an older generation, or an address that is to close.
    """
    if item.number in goal.avoid:
        return False
    if item.generation == goal.generation:
        return True
    alike = item.generation in goal.same and item.state in (State.READY, State.STARTING)
    return alike and not item.deaf and not _fails_probe(goal, item, now)


@dataclass(frozen=True, slots=True)
class Side:
    """Running instances of the goal, or old ones: those that must be judged one by one, and the settled ones."""

    others: list[Instance]
    settled: tuple[Settled, ...]

    def __len__(self) -> int:
        return len(self.others) + sum(map(len, self.settled))

    def __iter__(self) -> Iterator[Instance]:
        return chain(self.others, *(group.values() for group in self.settled))

    def ready(self) -> int:
        """Return how many of them are ready."""
        return sum(item.state is State.READY for item in self.others) + sum(map(len, self.settled))

    def in_order(self, key: Callable[[Instance], Any], *, latest_first: bool) -> Iterator[Instance]:
        """Iterate in the order of `key`, by which settled ones of a generation are in the order of their starts."""
        groups = [group.by_start(latest_first=latest_first) for group in self.settled]
        return merge(sorted(self.others, key=key), *groups, key=key)


def divided(running: Iterable[Instance], goal: Goal, now: float) -> tuple[Side, Side]:
    """Return the instances that belong to the goal, and the old ones."""
    instances = Instances.of(running)
    sides: tuple[Side, Side] = Side([], ()), Side([], ())
    for item in instances.others:
        if item.state not in OUT_OF_SERVICE:
            sides[not belongs(item, goal, now)].others.append(item)
    groups: tuple[list[Settled], list[Settled]] = [], []
    for generation, group in instances.settled.items():
        if generation != goal.generation and generation not in goal.same:
            groups[1].append(group)
        elif avoided := [group[number] for number in goal.avoid & group.numbers()]:
            groups[0].append(group.changed(avoided, ()))
            groups[1].append(Settled(generation, {}).changed((), avoided))
        else:
            groups[0].append(group)
    return replace(sides[0], settled=tuple(groups[0])), replace(sides[1], settled=tuple(groups[1]))


def unproved(instances: Iterable[Instance], goal: Goal, remembered: frozenset[int]) -> list[Instance]:
    """Return the instances without those that are settled and either old or of the goal's generation and have passed:
    neither is anything waited for there, nor can they fail."""
    known = Instances.of(instances)
    return [*known.others, *_to_prove(known.settled.values(), goal, remembered)]


def _to_prove(groups: Iterable[Settled], goal: Goal, remembered: frozenset[int]) -> Iterator[Instance]:
    """Iterate over the settled instances of the goal that have yet to pass under its generation."""
    for group in groups:
        generation = group.generation
        if generation == goal.generation:
            yield from (group[number] for number in group.numbers() - remembered)
        elif generation in goal.same:
            yield from group.values()


def rests_for(item: Instance, goal: Goal) -> bool:
    """True if an instance in standby would be the goal's once it is thawed."""
    return item.number not in goal.avoid and (item.generation == goal.generation or item.generation in goal.same)


def has_proved(goal: Goal, item: Instance, remembered: frozenset[int]) -> bool:
    """True if an instance of the goal's generation passed earlier."""
    return item.generation == goal.generation and item.number in remembered


def passed(
    goal: Goal, new: Side, failed: Container[int], remembered: frozenset[int], now: float
) -> tuple[frozenset[int], float | None]:
    """Return which instances have passed, and when to judge the others again (CLOCK_MONOTONIC seconds)."""
    done: set[int] = set()
    for group in new.settled:
        if group.generation == goal.generation:
            done |= remembered & group.numbers()
    later: list[float] = []
    for item in chain(new.others, _to_prove(new.settled, goal, remembered)):
        if item.number in failed:
            continue
        if has_proved(goal, item, remembered):
            done.add(item.number)
        elif item.state is State.READY and (goal.proven or item.listener is Listener.PASSED):
            since = item.probed_since if goal.probe else item.ready_since
            if goal.probe and not since:
                # After these times the next result of the probe decides, and causes another plan.
                ends = [item.ready_since + goal.gate_timeout]
                if goal.fail_after and item.wrong_answers >= goal.fail_after:
                    ends.append(item.wrong_since + goal.fail_span)
                later.extend(end for end in ends if now < end)
            elif since + goal.min_ready <= now:
                done.add(item.number)
            else:
                later.append(since + goal.min_ready)
    return frozenset(done), min(later, default=None)


def to_probe(goal: Goal, instances: Iterable[Instance], remembered: frozenset[int], now: float) -> list[Instance]:
    """Return the instances to probe, that is those for which the result matters now."""
    if not goal.probe:
        return []
    return [
        item
        for item in unproved(instances, goal, remembered)
        if item.state is State.READY and belongs(item, goal, now) and not has_proved(goal, item, remembered)
    ]


def failures(goal: Goal, new: Iterable[Instance], remembered: frozenset[int], now: float) -> dict[int, Failure]:
    """Map the instances that fail the goal to their failures. One that is settled does not."""
    new = list(new)
    found = {item.number: why for item in new if (why := _failure(goal, item, remembered, now)) is not None}
    down = [item for item in new if _crashed(goal, item, remembered)]
    if len(down) > max(1, goal.instances // MANY) and not found:
        # A single one may have been killed; several at a time are the fault of the release.
        first = min(down, key=lambda item: item.number)
        numbers = ", ".join(str(number) for number in sorted(item.number for item in down))
        reason = f"instances {numbers} had passed the gate and crashed" + _because(first)
        found[first.number] = _failed(first, GateName.STAY_UP, reason, STAY_UP)
    return found


def late(goal: Goal, ready: int, since: float | None) -> Failure:
    """Return the failure of a rollout whose deadline has passed while so many instances of the goal were ready."""
    reason = f"the rollout's deadline passed with {ready} of {goal.instances} instances ready"
    return Failure(GateName.DEADLINE, reason, waited_for="another instance to pass the gate", waited=since)


def _failure(goal: Goal, item: Instance, remembered: frozenset[int], now: float) -> Failure | None:
    if item.generation != goal.generation or item.state is State.STOPPING:
        return None  # to be adopted later, or stopping
    if item.deaf and not goal.proven:
        reason = f"instance {item.number} sent READY=1 but {item.deaf}"
        if goal.gate == GateType.EXEC:
            reason = f"instance {item.number} {item.deaf}"
        if item.listens:
            reason += f"; {OTHER_LISTENER}"
        waited_for = "a process of the instance to have the socket that systemd passes to it"
        return _failed(item, GateName.LISTENER, reason, waited_for, now - item.ready_since)
    if item.hang is not None and not goal.proven:
        waited_for = f"an answer to any request within {goal.watchdog:g} s"
        reason = f"instance {item.number} {item.hang.words(now)}"
        return _failed(item, GateName.WATCHDOG, reason, waited_for, now - item.hang.since)
    if item.number in remembered:
        if item.restarts > MAX_RESTARTS and item.state is not State.READY and not goal.proven:
            reason = f"instance {item.number} keeps crashing{_because(item)}"
            return _failed(item, GateName.STAY_UP, reason, STAY_UP)
        return None
    if item.state is State.FAILED or (item.restarts > 0 and not goal.proven):
        return _died(goal, item)
    if item.state is not State.READY or not goal.probe:
        return None
    words = goal.probe_words
    if _lost_probe(goal, item):
        reason = f"instance {item.number} failed its probe within min_ready: {item.probe_error}"
        return _failed(item, GateName.PROBE, reason, words, now - item.probed_since)
    if _wrong_probe(goal, item, now):
        reason = f"instance {item.number} failed its probe {item.wrong_answers} times in a row: {item.probe_error}"
        return _failed(item, GateName.PROBE, reason, words, now - item.ready_since)
    if _late_probe(goal, item, now):
        reason = f"instance {item.number} did not pass its probe within {goal.gate_timeout:g} s: {item.probe_error}"
        return _failed(item, GateName.PROBE, reason, words, now - item.ready_since)
    return None


def _died(goal: Goal, item: Instance) -> Failure:
    """Return the failure of an instance that ended before READY=1, or between that and the end of its gate."""
    reason = f"instance {item.number} {item.detail or 'failed'}"
    was_ready = "after it was ready" in item.detail or item.restarts > 0
    if was_ready and (goal.min_ready or not goal.probe):
        return _failed(item, GateName.MIN_READY, reason, f"to stay up for {goal.min_ready:g} s", item.ran)
    if was_ready:
        return _failed(item, GateName.PROBE, reason, goal.probe_words, item.ran)
    return _failed(item, GateName(goal.gate), reason, goal.gate_words, item.ran)


def _failed(item: Instance, gate: GateName, reason: str, waited_for: str, waited: float | None = None) -> Failure:
    return Failure(
        gate,
        reason,
        instance=item.number,
        waited_for=waited_for,
        waited=None if waited is None else round(waited, 3),
        exit_status=item.exit_status,
        signal=item.signal,
    )


def _fails_probe(goal: Goal, item: Instance, now: float) -> bool:
    return _lost_probe(goal, item) or _wrong_probe(goal, item, now) or _late_probe(goal, item, now)


def _lost_probe(goal: Goal, item: Instance) -> bool:
    return goal.probe and item.state is State.READY and item.probed_since > 0 and bool(item.probe_error)


def _wrong_probe(goal: Goal, item: Instance, now: float) -> bool:
    """True if the answers of an instance to its probe are wrong again and again, so that waiting is of no use."""
    enough = 0 < goal.fail_after <= item.wrong_answers and not item.probed_since
    return goal.probe and item.state is State.READY and enough and now >= item.wrong_since + goal.fail_span


def _late_probe(goal: Goal, item: Instance, now: float) -> bool:
    """True if an instance did not pass its probe within the gate timeout.

    At least one probe must have failed, because an instance may have been ready for long before its first probe, for
    example after a restart of the daemon.
    """
    waiting = goal.probe and item.state is State.READY and not item.probed_since and bool(item.probe_error)
    return waiting and now >= item.ready_since + goal.gate_timeout


def _crashed(goal: Goal, item: Instance, remembered: frozenset[int]) -> bool:
    """True if an instance of an unproven goal that had passed the gate has crashed and is not ready again."""
    ours = has_proved(goal, item, remembered) and not goal.proven
    return ours and (item.state is State.FAILED or (item.state is State.STARTING and item.restarts > 0))


def _because(item: Instance) -> str:
    return f": {item.detail}" if item.detail else ""
