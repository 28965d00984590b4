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
from deployd.model.pace import Amount, Pace
from deployd.plan.goal import Goal
from deployd.units.edits import refuse_edits
from tests.units.disk import FIRST, OLD, SECOND, Disk, app

STEERED = {"web@.socket", "web:start@.service", "web.service", "web@.service"}
TCP = Listen(ListenKind.TCP, OLD)
UNIX, ASIDE = "/run/web/http.sock", "/run/web/.http.sock.deployd"
routings = st.sampled_from(list(Routing))


def routed(routing: Routing, listen: Listen = TCP) -> App:
    return replace(app(routing=routing), listen=(listen,))


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


def with_unix(disk: Disk, address: str = UNIX) -> Disk:
    """Return the disk with a UNIX address in place of the TCP port, and only generation 1 installed."""
    listen = (Listen(ListenKind.UNIX, address),)
    disk.generations = {number: replace(settings, listen=listen) for number, settings in disk.generations.items()}
    disk.installed.clear()
    disk.install(disk.layout(1))
    return disk


def test_a_shared_unix_socket_leaves_its_address_to_others_when_routing_changes(shared_disk: Disk) -> None:
    disk = with_unix(shared_disk)
    before = disk.installed[FIRST]
    assert settings_of(before, "RemoveOnStop") == ["yes"]
    refuse_edits(disk.generations[2], disk.present(), disk.layout(2, 1))
    disk.install(disk.layout(2, 1))
    disk.generation_sockets[2] = 2
    text = disk.installed[FIRST]
    assert (settings_of(text, "ListenStream"), settings_of(text, "RemoveOnStop")) == ([UNIX], ["no"])
    assert ASIDE in settings_of(text, "ExecStopPost")[0]
    assert settings_of(text, "ReusePort") == []
    assert disk.layout(2, 1).files == disk.layout(2, 1).files
    assert disk.present().has(disk.layout(2, 1).files), "nothing is written twice"
    disk.pins = {3: 2, 4: 2}
    disk.close(2)
    disk.install(disk.layout(2))
    assert disk.installed.keys() == {"web.service", "web@.service", "web:start@.service", "web:unix@2.socket"}


def test_a_shared_unix_socket_is_opened_next_to_its_address_when_routing_changes_back(shared_disk: Disk) -> None:
    disk = with_unix(shared_disk)
    disk.installed.clear()
    disk.pins.clear()
    disk.install(disk.layout(2))
    disk.generation_sockets, disk.pins = {2: 2}, {1: 2, 2: 2}
    wanted = disk.layout(3, 2)
    refuse_edits(disk.generations[3], disk.present(), wanted)
    disk.install(wanted)
    assert settings_of(disk.installed[SECOND], "ListenStream") == [ASIDE]
    assert disk.present().socket(SECOND).addresses == (UNIX,)
    assert wanted.avoid == {1, 2}
    disk.pins |= {3: 3}
    assert disk.held(3) == {SECOND}
    assert disk.present().has(disk.layout(3, 2).files), "it stays there until the others have gone"
    assert not disk.present().place(disk.generations[3]).going
    assert [item.name for item in disk.present().place(disk.generations[2]).going] == [SECOND]


def test_routing_is_not_changed_if_no_instance_may_serve_meanwhile(shared_disk: Disk) -> None:
    """What waits at a UNIX socket cannot be moved to another one."""
    disk = with_unix(shared_disk)
    at_once = Pace(max_surge=Amount(0), max_unavailable=Amount(2))
    with pytest.raises(Refused, match=r'no instance may be left meanwhile .*; write routing = "shared", or'):
        refuse_edits(replace(disk.generations[2], pace=at_once), disk.present(), disk.layout(2))


def test_an_address_that_leaves_no_room_for_a_second_name_is_refused(shared_disk: Disk) -> None:
    disk = with_unix(shared_disk, "/run/" + 100 * "w")
    refuse_edits(disk.generations[2], disk.present(), disk.layout(2))
    disk.installed.clear()
    disk.install(disk.layout(2))
    disk.pins = {1: 2}
    with pytest.raises(Refused, match="longer than 107 bytes"):
        refuse_edits(disk.generations[3], disk.present(), disk.layout(3))


class Story(RuleBasedStateMachine):
    """Rollouts follow one another, finished or not; a daemon may be killed between any two files."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk({})
        self.goal = self.origin = 1
        self.avoid: frozenset[int] = frozenset()
        self.started: dict[int, set[str]] = {}
        self.listen = TCP
        self.opened: dict[str, list[str]] = {}
        """Where the shared sockets listen."""

    def install(self, writes: int | None = None) -> None:
        goal = Goal.of(self.disk.generations[self.goal], self.goal)
        socket = self.disk.present().generation_socket(self.disk.generations[self.goal], goal)
        if socket is not None:
            self.disk.generation_sockets[self.goal] = socket
        if writes is not None:
            self.disk.install(self.disk.layout(self.goal), writes)
        wanted = self.disk.layout(self.goal)
        self.disk.install(wanted)
        self.avoid = wanted.avoid

    @initialize(routing=routings, listen=st.sampled_from([TCP, Listen(ListenKind.UNIX, UNIX)]))
    def deploy(self, routing: Routing, listen: Listen) -> None:
        self.listen = listen
        self.disk.generations[1] = routed(routing, listen)
        self.install()

    @rule(routing=routings, writes=st.none() | st.integers(0, 9))
    def change(self, routing: Routing, writes: int | None) -> None:
        self.goal = max(self.disk.generations) + 1
        self.disk.generations[self.goal] = routed(routing, self.listen)
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
                assert "web:start@.service" in self.disk.installed
            if not held and self.listen.kind is ListenKind.TCP:
                assert own is not None
                assert settings_of(own, "ListenStream") == [OLD]
            elif not held:
                socket = self.disk.generation_sockets[self.disk.pins[number]]
                assert f"web:unix@{socket}.socket" in self.disk.installed

    @invariant()
    def an_address_is_open_once_unless_it_is_shared(self) -> None:
        shared = self.disk.present().sockets()
        own = [number for number, held in self.started.items() if not held]
        assert len(shared) <= 1
        for item in shared if own else ():
            text = self.disk.installed[item.name]
            if self.listen.kind is ListenKind.TCP:
                assert settings_of(text, "ReusePort") == ["yes"]
            else:
                assert settings_of(text, "RemoveOnStop") == ["no"], "the address leads to others, too"

    @invariant()
    def a_shared_socket_stays_where_it_was_opened(self) -> None:
        found = {item.name: self.disk.installed[item.name] for item in self.disk.present().sockets()}
        listening = {name: settings_of(text, "ListenStream") for name, text in found.items()}
        kept = {name: self.opened.get(name, where) for name, where in listening.items()}
        assert listening == kept
        self.opened = listening


TestStory = Story.TestCase
