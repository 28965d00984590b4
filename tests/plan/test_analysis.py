"""When a rollout is analysed, and which stops wait for the result: examples and properties."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deployd.model.action import Action, Freeze, Start, Stop
from deployd.model.instance import Instance, State
from deployd.plan.analysis import Record, allowed, both_serve, due, old_left

OLD, NEW = 1, 2


def instances(*generations: int | None, state: State = State.READY) -> tuple[Instance, ...]:
    return tuple(Instance(number, generation, state) for number, generation in enumerate(generations, 1))


def test_both_serve_when_both_are_ready() -> None:
    assert both_serve(NEW, instances(OLD, NEW))
    assert both_serve(NEW, instances(None, NEW)), "an instance without a pin runs another process"
    assert not both_serve(NEW, instances(OLD, OLD))
    assert not both_serve(NEW, instances(NEW, NEW))
    assert not both_serve(NEW, ())
    starting = Instance(3, NEW, State.STARTING)
    assert not both_serve(NEW, (*instances(OLD, OLD), starting))


def test_a_run_is_due_an_interval_after_both_serve_and_after_each_run() -> None:
    assert due(Record(), 10) is None
    assert due(Record(ended=5.0), 10) is None
    assert due(Record(since=100.0), 10) == 110
    assert due(Record(since=100.0, ended=115.0), 10) == 125
    assert due(Record(since=200.0, ended=115.0), 10) == 210, "they had stopped serving together"


LAST = (Stop(1, OLD), Start(4, NEW), Stop(9, NEW, "surplus"))


def test_the_last_old_instances_wait_for_a_success() -> None:
    seen = instances(OLD, NEW, NEW)
    waiting = (Start(4, NEW), Stop(9, NEW, "surplus"))
    assert allowed(LAST, NEW, seen, Record(since=0.0), progressed=50.0) == waiting
    assert allowed(LAST, NEW, seen, Record(since=0.0, good=49.0), progressed=50.0) == waiting, (
        "it began before the last instance passed"
    )
    assert allowed(LAST, NEW, seen, Record(since=0.0, good=50.0), progressed=50.0) == LAST
    assert allowed(LAST, NEW, seen, Record(good=0.0), progressed=50.0) == LAST, "nothing to compare"


def test_freezing_waits_as_well() -> None:
    seen = (*instances(OLD, NEW), Instance(3, OLD, State.STANDBY))
    actions = (Freeze(1, OLD),)
    assert allowed(actions, NEW, seen, Record(since=0.0), progressed=50.0) == ()
    assert allowed(actions, NEW, seen, Record(since=0.0, good=50.0), progressed=50.0) == actions
    assert old_left(NEW, seen)
    assert not old_left(NEW, seen[1:])


def test_old_instances_stop_as_long_as_another_stays() -> None:
    assert allowed(LAST, NEW, instances(OLD, OLD, NEW), Record(since=0.0), progressed=50.0) == LAST
    down = (*instances(OLD, NEW), Instance(3, OLD, State.STARTING))
    assert allowed(LAST, NEW, down, Record(since=0.0), progressed=50.0) != LAST, "a starting instance does not serve"


@given(
    st.lists(st.tuples(st.sampled_from([OLD, NEW, None]), st.sampled_from(State)), max_size=6),
    st.sets(st.integers(1, 6)),
    st.floats(0, 100),
    st.none() | st.floats(0, 100),
)
def test_without_a_success_an_old_instance_keeps_serving(
    world: list[tuple[int | None, State]], stopped: set[int], progressed: float, good: float | None
) -> None:
    seen = tuple(Instance(number, *item) for number, item in enumerate(world, 1))
    actions: tuple[Action, ...] = tuple(Stop(item.number, item.generation) for item in seen if item.number in stopped)
    record = Record(0.0 if both_serve(NEW, seen) else None, None, good)
    some = allowed(actions, NEW, seen, record, progressed)
    assert [item for item in actions if item in some] == list(some)
    left = [item for item in seen if item.number not in {action.number for action in some if isinstance(action, Stop)}]
    answered = good is not None and good >= progressed
    if both_serve(NEW, seen) and not answered:
        assert any(item.state is State.READY and item.generation != NEW for item in left)
    else:
        assert some == actions
