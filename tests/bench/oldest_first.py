"""What a classic rolling restart does: every process that is not of the new restart goes, the oldest first.

The order that deployd's recovery is compared with. It knows of no generation but the last, so it neither adopts nor
tells a bad process from a healthy one. Its pace is the goal's: no more alive than the ceiling, no fewer available than
the floor. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice

from deployd.model.action import Start, Stop
from deployd.model.instance import Instance, State
from deployd.plan.goal import Goal
from deployd.plan.planner import Plan, Verdict, World


def oldest_first(goal: Goal, world: World, _now: float) -> Plan:
    """The next actions of a restart of everything. Nobody fails here: the release that is restarted to is good."""
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
