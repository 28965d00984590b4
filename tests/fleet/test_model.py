"""The protocol with crashes, and with every message late, lost, repeated or reordered: at most one batch rolls, and a
fleet that is left alone ends in one release or stands with a reason.

`make model-fleet` looks at many more histories. The invariants are in invariants.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from deployd_cli.fleet.goal import OnFailure
from tests.fleet.walk import PLANS, assert_explained, walk
from tests.fleet.world import Move, Plan, World

HOST = frozenset({"act", "open", "watch", "watch own", "look", "tick"})
FAULTS = frozenset({"kill agent", "power off", "power on", "deadline", "local", "etcd", "lose", "arrive, reply lost"})
DAEMON = frozenset({"succeed", "fail", "take back"})
WALKS = 60


class Fleet(RuleBasedStateMachine):
    """Each rule lets one of the moves happen that are possible; World checks the invariants after it."""

    world: World

    @initialize(
        hosts=st.integers(2, 5),
        batches=st.sampled_from(PLANS),
        max_failures=st.integers(0, 1),
        bake=st.sampled_from([0.0, 2.0]),
        on_failure=st.sampled_from(OnFailure),
    )
    def begin(self, hosts: int, batches: str, max_failures: int, bake: float, on_failure: OnFailure) -> None:
        self.world = World(Plan(hosts, batches, max_failures, bake, on_failure))

    def moves(self, kinds: frozenset[str]) -> Sequence[Move]:
        return [move for move in self.world.moves() if move[0] in kinds]

    def one_of(self, data: st.DataObject, kinds: frozenset[str]) -> None:
        if moves := self.moves(kinds):
            self.world.do(data.draw(st.sampled_from(moves)))

    @rule(data=st.data())
    def a_host_acts(self, data: st.DataObject) -> None:
        self.one_of(data, HOST)

    @precondition(lambda self: self.world.transit)
    @rule(data=st.data())
    def a_message_arrives(self, data: st.DataObject) -> None:
        self.one_of(data, frozenset({"arrive"}))

    @precondition(lambda self: self.moves(DAEMON))
    @rule(data=st.data())
    def a_rollout_ends(self, data: st.DataObject) -> None:
        self.one_of(data, DAEMON)

    @rule(data=st.data())
    def something_fails(self, data: st.DataObject) -> None:
        self.one_of(data, FAULTS)

    @precondition(lambda self: self.world.reachable)
    @rule(data=st.data())
    def a_driver_reads_or_writes(self, data: st.DataObject) -> None:
        self.one_of(data, frozenset({"read", "rollout", "rollback", "abort", "pause", "resume", "release", "forget"}))

    @precondition(lambda self: self.world.reachable)
    @rule(rounds=st.integers(1, 6))
    def all_is_well_for_a_while(self, rounds: int) -> None:
        self.world.proceed(rounds)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            assert_explained(self.world)


TestFleet = Fleet.TestCase
TestFleet.settings = settings(
    max_examples=15, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.mark.parametrize("seed", range(4))
def test_long_histories_keep_the_invariants(seed: int) -> None:
    for number in range(WALKS):
        walk(Random(seed * WALKS + number))


def test_a_fleet_without_faults_is_new() -> None:
    world = World(Plan(5, "1,2"))
    world.do(("read", 0))
    world.do(("rollout", 0))
    assert world.settle().state == "done"
    assert {host.daemon.live for host in world.hosts.values()} == {"v1"}
    world.do(("read", 0))
    world.do(("rollback", 0))
    assert world.settle().state == "done"
    assert {host.daemon.live for host in world.hosts.values()} == {"v0"}


def test_a_rollout_that_was_aborted_is_rolled_back() -> None:
    world = World(Plan(5, "1,2"), fails=set())
    for what in ("read", "rollout"):
        world.do((what, 0))
    world.proceed(4)
    assert 0 < sum(host.daemon.live == "v1" for host in world.hosts.values()) < 5
    for what in ("read", "abort"):
        world.do((what, 0))
    assert world.settle().state == "aborted"
    for what in ("read", "rollback"):
        world.do((what, 0))
    assert world.settle().state == "done"
    assert {host.daemon.live for host in world.hosts.values()} == {"v0"}


def test_a_fleet_with_a_bad_host_stands_and_says_why() -> None:
    world = World(Plan(5, "1,2"), fails={"web3"})
    world.do(("read", 0))
    world.do(("rollout", 0))
    found = world.settle()
    assert found.state == "halted"
    assert found.reason.startswith("web3 failed, ")
    assert found.reason.endswith(": it crashed")
    assert found.hosts["web3"].state == "failed"


def test_a_fleet_with_a_bad_host_returns_to_the_release_before() -> None:
    world = World(Plan(5, "2", on_failure=OnFailure.ROLLBACK), fails={"web3"})
    world.do(("read", 0))
    world.do(("rollout", 0))
    assert world.settle().state == "done"
    assert {host.daemon.live for host in world.hosts.values()} == {"v0"}
