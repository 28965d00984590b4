"""What the instances of a rollout are waited for. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from deployd.model.gate import GateType
from deployd.model.instance import Instance, Listener, State
from deployd.plan import judge
from deployd.plan.goal import Goal


class What(StrEnum):
    """What an instance has yet to do."""

    START = "start"
    LISTEN = "listen"
    PROBE = "probe"
    STAY_UP = "stay-up"
    STOP = "stop"


FOR_SYSTEMD = frozenset({What.START, What.STOP})
"""Waits that a signal of systemd ends."""


@dataclass(frozen=True, slots=True)
class Wait:
    """An instance that is waited for. Equal as long as it has to do the same."""

    number: int
    generation: int | None
    what: What


def waits(goal: Goal, instances: Iterable[Instance], passed: frozenset[int], now: float) -> dict[Wait, str]:
    """Return what is waited for, and its words: the end of a sentence that begins with the instance."""
    found = {}
    for item in judge.unproved(instances, goal, passed):
        what = _what(goal, item, passed, now)
        if what is not None:
            found[Wait(item.number, item.generation, what)] = _words(goal, item, what)
    return found


def _what(goal: Goal, item: Instance, passed: frozenset[int], now: float) -> What | None:
    if item.state is State.STOPPING:
        return What.STOP
    if item.number in passed or not judge.belongs(item, goal, now):
        return None
    if item.state is State.STARTING:
        return What.START
    if item.state is not State.READY:
        return None
    if goal.probe and not item.probed_since:
        return What.PROBE
    return What.LISTEN if item.listener is Listener.UNSEEN else What.STAY_UP


def _words(goal: Goal, item: Instance, what: What) -> str:
    match what:
        case What.STOP:
            return "has not stopped yet"
        case What.START if goal.gate == GateType.NOTIFY:
            return "has not sent READY=1 yet"
        case What.START:
            return "has not executed its program yet"
        case What.PROBE:
            return f"has not passed its probe yet{f': {item.probe_error}' if item.probe_error else ''}"
        case What.LISTEN:
            return "is ready, but was not seen to have the socket that systemd passes to it"
        case What.STAY_UP:
            return f"is ready, and has to stay up for {goal.min_ready:g} s (min_ready)"
