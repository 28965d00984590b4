"""Any sequence of changed addresses: the unit file of an instance always has what the instance was started with."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import assume
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from deployd.errors import Refused
from tests.units.disk import Disk, app

ADDRESSES = ["80", "81", "82", "83"]
addresses = st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=3, unique=True)


class Story(RuleBasedStateMachine):
    """Rollouts follow one another, finished or not; a daemon may be killed between any two files."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk({})
        self.goal = 0
        self.origin = 0
        self.closing = False
        self.avoid: frozenset[int] = frozenset()
        self.started: dict[int, set[str]] = {}
        self.texts: dict[str, str] = {}

    def install(self, writes: int | None = None) -> None:
        wanted = self.disk.layout(self.goal, closing=self.closing)
        if writes is not None:
            self.disk.install(wanted, writes)
            wanted = self.disk.layout(self.goal, closing=self.closing)
        self.disk.install(wanted)
        self.avoid = wanted.avoid

    @initialize(listen=addresses)
    def deploy(self, listen: list[str]) -> None:
        self.disk.generations[1] = app(*listen)
        self.goal = self.origin = 1
        self.install()

    @rule(listen=addresses, writes=st.none() | st.integers(0, 8))
    def change(self, listen: list[str], writes: int | None) -> None:
        """Begin a rollout to a new generation, from any state."""
        before = self.goal, self.closing
        self.goal, self.closing = max(self.disk.generations) + 1, False
        self.disk.generations[self.goal] = app(*listen)
        try:
            self.install(writes)
        except Refused:
            self.goal, self.closing = before

    @precondition(lambda self: self.goal != self.origin)
    @rule(writes=st.none() | st.integers(0, 8))
    def turn_back(self, writes: int | None) -> None:
        self.goal, self.closing = self.origin, False
        self.install(writes)

    @rule()
    def come_back(self) -> None:
        """Continue with another daemon."""
        self.install()

    @rule(number=st.integers(1, 8))
    def start(self, number: int) -> None:
        assume(number not in self.disk.pins and number not in self.avoid)
        self.disk.pins[number] = self.goal
        self.started[number] = self.disk.held(number)
        if not self.closing:  # it has the addresses of older instances too
            older = [item for item, generation in self.disk.pins.items() if generation < self.goal]
            assert all(self.started[item] <= self.started[number] for item in older)

    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        assume(self.disk.pins)
        number = data.draw(st.sampled_from(sorted(self.disk.pins)))
        del self.disk.pins[number], self.started[number]

    @precondition(lambda self: set(self.disk.pins.values()) <= {self.goal})
    @rule(writes=st.none() | st.integers(0, 8))
    def finish(self, writes: int | None) -> None:
        """Begin the second pass if one is needed, otherwise end the rollout."""
        wanted = {item.name for item in self.disk.present().place(self.disk.generations[self.goal]).wanted}
        if any(held - wanted for held in self.started.values()):
            self.closing = True
            self.install(writes)
            assert self.avoid == {number for number, held in self.started.items() if held - wanted}
        else:
            self.disk.close(self.goal)
            self.origin, self.closing = self.goal, False

    @invariant()
    def everyone_has_what_it_was_started_with(self) -> None:
        for number, held in self.started.items():
            assert self.disk.held(number) == held, number

    @invariant()
    def the_goal_s_own_have_all_its_addresses(self) -> None:
        listening = {item.name: set(item.addresses) for item in self.disk.present().sockets()}
        for number, generation in self.disk.pins.items():
            mine = {item.address for item in self.disk.generations[generation].listen}
            assert mine <= set().union(*(listening[name] for name in self.started[number])), number

    @invariant()
    def an_open_socket_is_never_edited(self) -> None:
        now = {name: text for name, text in self.disk.installed.items() if name.endswith(".socket")}
        assert all(text == self.texts.get(name, text) for name, text in now.items())
        self.texts = now

    @invariant()
    def an_address_is_open_once(self) -> None:
        found = [address for item in self.disk.present().sockets() for address in item.addresses]
        assert len(found) == len(set(found))


TestStory = Story.TestCase
