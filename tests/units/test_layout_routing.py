"""Any sequence of changed routing: the unit file of an instance always has what the instance was started with."""

from __future__ import annotations

import re
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import assume
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from deployd.errors import Refused
from deployd.model.app import App, Listen, ListenKind, Routing
from deployd.units.edits import refuse_edits
from tests.units.disk import FIRST, OLD, SECOND, Disk, app

STEERED = {"web@.socket", "web:start@.service", "web.service", "web@.service"}
routings = st.sampled_from(list(Routing))


def routed(routing: Routing, *addresses: str) -> App:
    return app(*(addresses or (OLD,)), routing=routing)


def settings_of(text: str, key: str) -> list[str]:
    return re.findall(rf"(?m)^{key}=(.*)$", text)


@pytest.fixture
def shared_disk() -> Disk:
    """Generation 1 runs with one shared socket, 2 is a steered one, 3 is like 1."""
    disk = Disk({1: routed(Routing.SHARED), 2: routed(Routing.STEERED), 3: routed(Routing.SHARED)})
    disk.install(disk.layout(1))
    disk.pins = {1: 1, 2: 1}
    return disk


def test_old_instances_keep_the_shared_socket_and_new_ones_get_their_own(shared_disk: Disk) -> None:
    wanted = shared_disk.layout(2, 1)
    shared_disk.install(wanted)
    assert wanted.avoid == {1, 2}, "none is adopted, although it runs the same process"
    assert not wanted.late
    assert {number: shared_disk.held(number) for number in (1, 2, 3)} == {1: {FIRST}, 2: {FIRST}, 3: set()}
    assert settings_of(shared_disk.installed[FIRST], "ReusePort") == ["yes"], "both can be opened at boot"
    assert settings_of(shared_disk.installed["web.service"], "Wants")[0].split()[0] == FIRST
    assert shared_disk.layout(2, 1).files == wanted.files
    shared_disk.pins = {3: 2, 4: 2}
    shared_disk.close(2)
    shared_disk.install(shared_disk.layout(2))
    assert shared_disk.installed.keys() == STEERED


def test_back_to_a_shared_socket_old_instances_keep_their_own(shared_disk: Disk) -> None:
    shared_disk.installed.clear()
    shared_disk.install(shared_disk.layout(2))
    shared_disk.pins = {1: 2, 2: 2}
    own = shared_disk.installed["web@.socket"]
    wanted = shared_disk.layout(3, 2)
    assert [item.name for item in wanted.placement.wanted] == [SECOND], "the service of the first one is active"
    shared_disk.install(wanted)
    assert wanted.avoid == {1, 2}
    assert shared_disk.held(3) == {SECOND}
    assert shared_disk.own_sockets == {1: own, 2: own}
    assert "web:start@.service" in shared_disk.installed
    assert settings_of(shared_disk.installed[SECOND], "ReusePort") == ["yes"]


def test_an_app_that_serves_is_not_steered_where_the_kernel_cannot(shared_disk: Disk) -> None:
    there = replace(shared_disk.present(), steerable=False)
    assert not there.steers(shared_disk.generations[2])
    shared_disk.install(shared_disk.layout(2))
    there = replace(shared_disk.present(), steerable=False)
    assert there.steers(shared_disk.generations[2]), "it was, and its instances have sockets of their own"
    with pytest.raises(Refused, match="takes steering"):
        refuse_edits(shared_disk.generations[3], there, shared_disk.layout(3))


def test_unix_addresses_keep_their_sockets(shared_disk: Disk) -> None:
    unix = Listen(ListenKind.UNIX, "/run/web.sock")
    for number, settings in shared_disk.generations.items():
        shared_disk.generations[number] = replace(settings, listen=(unix,))
    assert not shared_disk.present().steers(shared_disk.generations[2]), "one with a TCP address has a shared socket"
    shared_disk.installed.clear()
    shared_disk.install(shared_disk.layout(1))
    assert not shared_disk.present().steers(shared_disk.generations[2])
    shared_disk.installed.clear()
    shared_disk.install(shared_disk.layout(2))
    assert shared_disk.present().steers(shared_disk.generations[2])
    with pytest.raises(Refused, match="UNIX"):
        refuse_edits(shared_disk.generations[3], shared_disk.present(), shared_disk.layout(3))


class Story(RuleBasedStateMachine):
    """Rollouts follow one another, finished or not; a daemon may be killed between any two files."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk({})
        self.goal = self.origin = 1
        self.avoid: frozenset[int] = frozenset()
        self.started: dict[int, set[str]] = {}

    def install(self, writes: int | None = None) -> None:
        if writes is not None:
            self.disk.install(self.disk.layout(self.goal), writes)
        wanted = self.disk.layout(self.goal)
        self.disk.install(wanted)
        self.avoid = wanted.avoid

    @initialize(routing=routings)
    def deploy(self, routing: Routing) -> None:
        self.disk.generations[1] = routed(routing)
        self.install()

    @rule(routing=routings, writes=st.none() | st.integers(0, 9))
    def change(self, routing: Routing, writes: int | None) -> None:
        self.goal = max(self.disk.generations) + 1
        self.disk.generations[self.goal] = routed(routing)
        self.install(writes)

    @rule(writes=st.none() | st.integers(0, 9))
    def turn_back(self, writes: int | None) -> None:
        self.goal = self.origin
        self.install(writes)

    @rule(number=st.integers(1, 8))
    def start(self, number: int) -> None:
        assume(number not in self.disk.pins and number not in self.avoid)
        self.disk.pins[number] = self.goal
        self.started[number] = self.disk.held(number)
        assert bool(self.started[number]) is not self.disk.generations[self.goal].steered

    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        assume(self.disk.pins)
        number = data.draw(st.sampled_from(sorted(self.disk.pins)))
        del self.disk.pins[number], self.started[number]

    @precondition(lambda self: set(self.disk.pins.values()) <= {self.goal})
    @rule()
    def finish(self) -> None:
        self.disk.close(self.goal)
        self.origin = self.goal

    @invariant()
    def everyone_has_what_it_was_started_with(self) -> None:
        for number, held in self.started.items():
            assert self.disk.held(number) == held, number
            assert held <= self.disk.installed.keys()
            own = self.disk.own_sockets.get(number, self.disk.installed.get("web@.socket"))
            if not held:
                assert own is not None
                assert settings_of(own, "ListenStream") == [OLD]
                assert "web:start@.service" in self.disk.installed

    @invariant()
    def an_address_is_open_once_unless_it_is_shared(self) -> None:
        shared = self.disk.present().sockets()
        own = [number for number, held in self.started.items() if not held]
        assert len(shared) <= 1
        for item in shared if own else ():
            assert settings_of(self.disk.installed[item.name], "ReusePort") == ["yes"]


TestStory = Story.TestCase
