"""The planner of a classic rolling restart: it replaces every process, the oldest first.

Used for comparison with deployd's rollback. It distinguishes no generations but the last, so it neither adopts
processes nor spares healthy ones. It keeps the goal's floor and ceiling. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice

from deployd.model.action import Start, Stop
from deployd.model.instance import Instance, State
from deployd.plan.goal import Goal
from deployd.plan.planner import Plan, Verdict, World


def oldest_first(goal: Goal, world: World, _now: float) -> Plan:
    """Return the next actions of a restart of everything. No instance fails, because the new release is good."""
    alive = [item for item in world.instances if item.state is not State.INACTIVE]
    new = [item for item in alive if item.generation == goal.generation]
    passed = frozenset(item.number for item in new if item.state is State.READY)
    old = sorted((item for item in alive if item.generation != goal.generation), key=lambda item: item.started)

    serving = sum(item.state is State.READY for item in alive)
    staying = [item for item in old if item.state is not State.STOPPING]
    stops = [Stop(item.number, item.generation) for item in staying[: max(0, serving - goal.floor)]]
    room = min(goal.instances - len(new), goal.ceiling - len(alive))
    starts = [Start(number, goal.generation) for number in islice(_free(alive), max(0, room))]
    done = not old and len(passed) == goal.instances
    return Plan(Verdict.DONE if done else Verdict.GOING, (*stops, *starts), passed)


def _free(alive: list[Instance]) -> Iterator[int]:
    taken = {item.number for item in alive}
    return (number for number in count(1) if number not in taken)
