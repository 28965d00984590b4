"""Generated goals and worlds for the tests of the planner, and functions that count in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import strategies as st

from deployd.model.action import Freeze, Start, Stop
from deployd.model.app import App, Listen, ListenKind
from deployd.model.gate import Gate
from deployd.model.instance import OUT_OF_SERVICE, Instance, State
from deployd.model.pace import Amount, Order, Pace
from deployd.plan.goal import Goal
from deployd.plan.planner import Plan

NOW = 1000.0
GENERATION = 5
"""The goal's generation. There are older and newer ones; a rollback has to stop newer ones."""


def app(instances: int = 4, **changes: Pace | Gate) -> App:
    made = App("shop", "/srv/shop/current", ("serve",), (Listen(ListenKind.TCP, "8080"),), instances)
    return replace(made, **changes)  # type: ignore[arg-type]  # replace() takes the union for each field


def ready(number: int, generation: int | None, started: float = 0.0, restarts: int = 0) -> Instance:
    return Instance(number, generation, State.READY, started=started, ready_since=started, restarts=restarts)


def starting(number: int, generation: int | None, restarts: int = 0) -> Instance:
    return Instance(number, generation, State.STARTING, started=NOW - 1, restarts=restarts)


def failed(number: int, generation: int | None, restarts: int = 0) -> Instance:
    return Instance(number, generation, State.FAILED, restarts=restarts, detail="exited with 1")


def stopping(number: int, generation: int | None) -> Instance:
    return Instance(number, generation, State.STOPPING)


def resting(number: int, generation: int | None, started: float = 0.0) -> Instance:
    """Return an instance in standby."""
    return Instance(number, generation, State.STANDBY, started=started, ready_since=started)


def idle(number: int, generation: int | None) -> Instance:
    return Instance(number, generation, State.INACTIVE)


def amounts() -> st.SearchStrategy[Amount]:
    return st.builds(Amount, st.integers(0, 8)) | st.builds(Amount, st.integers(0, 100), st.just(True))


@st.composite
def goals(draw: st.DrawFn, most: int = 8, *, standby: bool = True) -> Goal:
    """Goals as app files define them, with or without standby."""
    pace = Pace(
        max_surge=draw(st.builds(Amount, st.integers(0, 4)) | amounts()),
        max_unavailable=draw(amounts()),
        order=draw(st.sampled_from(Order)),
    )
    settings = app(
        draw(st.integers(1, most)), pace=pace, gate=Gate(min_ready=draw(st.just(0.0) | st.floats(0.5, 20.0)))
    )
    if not (overlap := draw(st.integers(0, 3)) > 0):
        settings = settings.without_overlap()
    same = draw(st.frozensets(st.integers(1, 8), max_size=3))
    goal = Goal.of(settings, GENERATION, same=same, proven=draw(st.booleans()))
    goal = replace(goal, drains=overlap and draw(st.booleans()))
    return replace(goal, standby=draw(st.sampled_from((None, None, 3, 4)))) if standby and overlap else goal


@st.composite
def instances(draw: st.DrawFn, number: int) -> Instance:
    """An instance in any state, of any generation."""
    state = draw(st.sampled_from((State.READY, *State)))
    started = float(draw(st.integers(0, 999)))
    was_ready = state in (State.READY, State.STANDBY)
    ready_since = min(NOW, started + draw(st.sampled_from([0.0, 0.1, 5.0]))) if was_ready else 0.0
    return Instance(
        number,
        draw(st.sampled_from((None, 1, 2, 3, 3, 4, 4, GENERATION, GENERATION, GENERATION, 6, 7))),
        state,
        started=started if state is not State.INACTIVE else 0.0,
        ready_since=ready_since,
        restarts=draw(st.sampled_from((0, 0, 0, 0, 0, 1, 3, 4, 9))) if state is not State.INACTIVE else 0,
    )


@st.composite
def pools(draw: st.DrawFn, most: int = 12) -> tuple[Instance, ...]:
    """Any instances, in any order."""
    numbers = draw(st.lists(st.integers(1, most), unique=True, max_size=most))
    return tuple(draw(instances(number)) for number in numbers)


def alive(pool: Iterable[Instance]) -> list[Instance]:
    """Return the running instances, without those in standby and those that drain."""
    return [item for item in pool if item.state not in OUT_OF_SERVICE]


def available(pool: Iterable[Instance], goal: Goal, passed: frozenset[int]) -> set[int]:
    """Return the numbers of the instances that count as capacity: ready old ones, and new ones that passed."""
    return {
        item.number
        for item in pool
        if item.state is State.READY and (item.generation != goal.generation or item.number in passed)
    }


def turn(item: Instance, goal: Goal) -> tuple[int, float, int]:
    """Return the sort key for the order in which old instances stop, implemented independently."""
    key = (item.generation or 0, item.started, item.number)
    return key if goal.order is Order.OLDEST_FIRST else (-key[0], -key[1], -key[2])


def stopped(plan: Plan) -> set[int]:
    """Return the numbers of the instances that are stopped or frozen."""
    return {action.number for action in plan.actions if isinstance(action, Stop | Freeze)}


def begun(plan: Plan) -> set[int]:
    return {action.number for action in plan.actions if isinstance(action, Start)}
