"""How an address closes that `listen` no longer has: who is replaced once more for it, and when systemd lets go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from deployd.model.action import Start, Stop
from deployd.model.instance import Instance, State
from deployd.plan.goal import Goal
from deployd.plan.planner import Plan
from deployd.plan.simulation import Outcome


def second_pass(first: Outcome, late: bool, holders: frozenset[int]) -> frozenset[int]:
    """The instances that hold an address which is to close after a simulated rollout: `holders` are those that did so
    before, and if it is `late`, all that it started do."""
    alive = {item.number for item in first.instances if item.state is not State.INACTIVE}
    started = {step.action.number for step in first.steps if isinstance(step.action, Start)}
    return frozenset(alive & ((holders - started) | (started if late else set())))


def joined(first: Outcome, second: Outcome) -> Outcome:
    """Both, one after the other."""
    return replace(
        second,
        steps=(*first.steps, *(replace(step, at=step.at + first.seconds) for step in second.steps)),
        floor=min(first.floor, second.floor),
        ceiling=max(first.ceiling, second.ceiling),
        seconds=first.seconds + second.seconds,
    )


def last_holders(goal: Goal, plan: Plan, instances: Iterable[Instance]) -> frozenset[int]:
    """In the second pass of a changed `listen`: those that hold the old addresses still, if the plan stops all of them
    and nothing can fail any more; else none.

    systemd is to close its end before that. Until they stop they accept what comes, and then it is refused; if it
    closed afterwards, what came meanwhile would wait in a queue that nobody serves.
    """
    seen = [item for item in instances if item.state is not State.INACTIVE]
    holders = frozenset(item.number for item in seen if item.number in goal.avoid)
    leaving = {item.number for item in seen if item.state is State.STOPPING}
    leaving |= {action.number for action in plan.actions if isinstance(action, Stop)}
    starting = any(isinstance(action, Start) for action in plan.actions)
    standing = sum(item.state is State.READY and item.number in plan.passed - leaving for item in seen)
    return holders if holders <= leaving and not starting and standing >= goal.instances else frozenset()
