"""Only what has changed of a steered app is looked at: the same as if all were, whatever happens in between."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from deployd.model.instance import Instance, State
from deployd.routing.socket_changes import SocketChanges
from deployd.systemd.proxy import Properties

NUMBERS = range(1, 6)
STATES = (State.READY, State.STARTING, State.INACTIVE)

Step = tuple[str, int, int]
"""What happens, to which number, and a value."""

KINDS = st.sampled_from(("instance", "gone", "unit", "add"))
STEPS = st.lists(st.tuples(KINDS, st.sampled_from(NUMBERS), st.integers(0, 3)))


class Mirror:
    """Has the properties of socket units as systemd's mirror does: another object for each change."""

    def __init__(self) -> None:
        self.units: dict[str, Properties] = {}
        self.reads = 0

    def properties(self, unit: str) -> Properties:
        self.reads += 1
        return self.units.setdefault(unit, {})


def unit(number: int) -> str:
    return f"demo@{number}.socket"


def instance(number: int, value: int) -> Instance:
    state = STATES[value % len(STATES)]
    return Instance(number, value % 2 or None, state, invocation_id=str(value))


def look(changes: SocketChanges, instances: Sequence[Instance], mirror: Mirror) -> dict[int, object]:
    """Look at what is due as Listeners does, and return what was seen: the instance, and the properties of the unit."""
    seen: dict[int, object] = {}
    for number in changes.due(instances):
        seen[number] = changes.up.get(number), mirror.properties(unit(number))
        if number in changes.up:
            changes.looked_at(number)
        else:
            changes.forget([number])
    return seen


@given(steps=STEPS, every=st.integers(1, 4))
@settings(deadline=None)
def test_nothing_that_has_changed_is_missed(steps: list[Step], every: int) -> None:
    mirror, there = Mirror(), dict[int, Instance]()
    changes = SocketChanges(mirror, unit)  # type: ignore[arg-type]
    known: dict[int, object] = {}
    for at, (what, number, value) in enumerate(steps):
        if what == "instance":
            there[number] = instance(number, value)
        elif what == "gone":
            there.pop(number, None)
        elif what == "unit":
            mirror.units[unit(number)] = {"ActiveState": str(value)}
        else:
            changes.add([number])
        if at % every:
            continue
        instances = tuple(there[number] for number in sorted(there))
        known |= look(changes, instances, mirror)
        up = {item.number: item for item in instances if item.is_up}
        assert changes.up == up
        present = {number: (item, mirror.properties(unit(number))) for number, item in up.items()}
        assert {number: known[number] for number in up} == present


def test_what_has_not_changed_is_not_due() -> None:
    mirror = Mirror()
    changes = SocketChanges(mirror, unit)  # type: ignore[arg-type]
    instances = tuple(instance(number, 0) for number in NUMBERS)
    assert set(look(changes, instances, mirror)) == set(NUMBERS)
    assert changes.due(instances) == set()
    mirror.units[unit(2)] = {"ActiveState": "inactive"}
    assert changes.due(instances) == {2}
    assert changes.due(instances) == {2}, "until it was looked at"
    look(changes, instances, mirror)
    changed = (*instances[:3], instance(4, 3), *instances[4:])
    assert changes.due(changed) == {4}
