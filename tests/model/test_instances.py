"""The index of instances: kept from one observation to the next, it is what it would be if it were made anew."""

from __future__ import annotations

import sys
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from deployd.model.instance import Instance, Listener, State
from deployd.model.instances import Instances, is_settled
from tests.calls import Calls


def indexed(instances: Instances) -> object:
    """Return the index in a form that can be compared."""
    return instances.others, {
        generation: [[*group.by_start(latest_first=latest)] for latest in (True, False)]
        for generation, group in instances.settled.items()
    }


@st.composite
def pools(draw: st.DrawFn) -> list[Instance]:
    numbers = draw(st.lists(st.integers(1, 9), unique=True).map(sorted))
    item = st.builds(
        Instance,
        st.just(0),
        st.sampled_from((None, 1, 2)),
        st.sampled_from((State.READY, State.READY, State.STARTING)),
        started=st.sampled_from((1.0, 2.0)),
        restarts=st.sampled_from((0, 0, 0, 1)),
        listener=st.sampled_from((Listener.PASSED, Listener.PASSED, Listener.UNSEEN)),
    )
    return [replace(draw(item), number=number) for number in numbers]


@given(st.lists(pools(), min_size=2, max_size=4), st.data())
def test_what_follows_equals_what_is_made_anew(rounds: list[list[Instance]], data: st.DataObject) -> None:
    known = Instances.of(())
    for items in rounds:
        kept = {item.number: item for item in known}
        mixed = [kept[item.number] if item.number in kept and data.draw(st.booleans()) else item for item in items]
        known = known.followed_by(mixed)
        assert known == tuple(mixed)
        assert indexed(known) == indexed(Instances.of(tuple(mixed)))
        assert known.serving() == sum(item.serves for item in mixed)
        assert {*known.others} | {item for group in known.settled.values() for item in group.values()} == {*mixed}
        assert not any(map(is_settled, known.others))


def test_the_same_instances_are_the_same_object() -> None:
    known = Instances.of([Instance(1, 1, State.READY)])
    assert Instances.of(known) is known
    assert known.followed_by(known) is known


def test_a_change_costs_as_much_among_many() -> None:
    assert calls(1000) == calls(10)


def calls(count: int) -> int:
    """Return how many functions of the daemon are called when one of so many instances has changed."""
    items = [Instance(number, 1, State.READY, started=float(number)) for number in range(1, count + 1)]
    known, counted = Instances.of(items), Calls()
    items[5] = replace(items[5], state=State.STOPPING)
    sys.setprofile(counted)
    try:
        known.followed_by(items)
    finally:
        sys.setprofile(None)
    return counted.total()
