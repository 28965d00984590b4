"""How an address that was removed from `listen` closes: which instances are replaced again, and when systemd closes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from deployd.model.action import Start, Stop
from deployd.model.instance import Instance, State
from deployd.plan.goal import Goal
from deployd.plan.planner import Plan
from deployd.plan.simulation import Outcome


def second_pass(first: Outcome, late: bool, holders: frozenset[int]) -> frozenset[int]:
    """Return the instances that hold an address to be closed after a simulated rollout.

    `holders` held it before the rollout; if the address closes `late`, all started instances hold it too.
    """
    alive = {item.number for item in first.instances if item.state is not State.INACTIVE}
    started = {step.action.number for step in first.steps if isinstance(step.action, Start)}
    return frozenset(alive & ((holders - started) | (started if late else set())))


def joined(first: Outcome, second: Outcome) -> Outcome:
    """Return the outcome of both passes in sequence."""
    return replace(
        second,
        steps=(*first.steps, *(replace(step, at=step.at + first.seconds) for step in second.steps)),
        floor=min(first.floor, second.floor),
        ceiling=max(first.ceiling, second.ceiling),
        seconds=first.seconds + second.seconds,
    )


def last_holders(goal: Goal, plan: Plan, instances: Iterable[Instance]) -> frozenset[int]:
    """Return the last instances that hold the old addresses in the second pass of a changed `listen`.

    Empty unless the plan stops all of them and nothing can fail any more. systemd must close the addresses before they
    stop: until then they accept connections, afterwards connections are refused. If systemd closed later, connections
    made meanwhile would wait in a queue from which no process accepts.
    """
    seen = [item for item in instances if item.state is not State.INACTIVE]
    holders = frozenset(item.number for item in seen if item.number in goal.avoid)
    leaving = {item.number for item in seen if item.state is State.STOPPING}
    leaving |= {action.number for action in plan.actions if isinstance(action, Stop)}
    starting = any(isinstance(action, Start) for action in plan.actions)
    standing = sum(item.state is State.READY and item.number in plan.passed - leaving for item in seen)
    return holders if holders <= leaving and not starting and standing >= goal.instances else frozenset()
