"""Socket units and instances of a steered app are restarted and stopped by hand."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.host.stage import APP, Stage
from tests.host.steered import DAEMON, asked, fresh, sockets, unharmed


def instances(stage: Stage, requests: int = 40) -> Counter[int]:
    """Return which instances answer how many requests, each on a connection of its own."""
    return Counter(int(stage.get()["instance"]) for _ in range(requests))


def mended(stage: Stage, number: int, before: str) -> bool:
    """True if the instance was restarted with a socket that leads to it."""
    item = next(item for item in stage.status()["instances"] if item["instance"] == number)
    return item["ready"] and item["invocation_id"] != before and bool(item["weight"])


@pytest.mark.sampled
@pytest.mark.parametrize("count", [4, 1])
@pytest.mark.parametrize("verb", ["restart", "stop"])
def test_a_socket_is_restarted_or_stopped(stage: Stage, verb: str, count: int) -> None:
    """The instance would accept from a listener that is closed: it is restarted with a new one."""
    stage.deploy("v1", routing="steered", instances=count)
    before = stage.invocations()
    with stage.load(rate=200, keepalive=4) as load:
        stage.machine.run(["systemctl", verb, f"{APP}@1.socket"])
        stage.machine.wait_for(lambda: mended(stage, 1, before[1].invocation), what="the new socket")
        seen = load.progress()["requests"]
        stage.machine.wait_for(lambda: load.progress()["requests"] > seen + 100, what="requests")
        unharmed(load.stop())
    assert sockets(stage) == set(range(1, count + 1))
    assert stage.status()["ready"] == count
    assert asked(stage) == {1: 100}
    after = stage.invocations()
    assert {number: after[number] for number in after if number != 1} == {
        number: before[number] for number in before if number != 1
    }
    assert instances(stage).keys() == set(range(1, count + 1))
    assert stage.rollout(stage.release("v2")).result == "succeeded"


@pytest.mark.thorough
def test_all_sockets_are_restarted_at_once(stage: Stage) -> None:
    stage.deploy("v1", routing="steered")
    before = stage.invocations()
    with stage.load(rate=200, keepalive=4) as load:
        stage.machine.run(["systemctl", "restart", f"{APP}@*.socket"])
        for number, ran in before.items():
            stage.machine.wait_for(lambda n=number, ran=ran: mended(stage, n, ran.invocation), what="the new socket")  # type: ignore[misc]
        unharmed(load.stop())
    assert sorted(instances(stage)) == [1, 2, 3, 4]


@pytest.mark.thorough
def test_a_socket_is_restarted_while_the_daemon_is_away(stage: Stage) -> None:
    stage.deploy("v1", routing="steered")
    before = stage.invocations()
    with stage.load(rate=200, keepalive=4) as load:
        stage.machine.run(["systemctl", "stop", DAEMON])
        stage.machine.run(["systemctl", "restart", f"{APP}@1.socket"])
        stage.machine.run(["systemctl", "start", DAEMON])
        stage.machine.wait_for(lambda: mended(stage, 1, before[1].invocation), what="the new socket")
        unharmed(load.stop())
    assert sorted(instances(stage)) == [1, 2, 3, 4]


def test_an_instance_is_restarted_by_hand(stage: Stage) -> None:
    """Its socket stays open: connections go to the other instances or wait for it."""
    stage.deploy("v1", routing="steered")
    with stage.load(rate=200, keepalive=4) as load:
        stage.machine.run(["systemctl", "restart", f"{APP}@1.service"])
        stage.machine.run(["systemctl", "stop", f"{APP}@2.service"])
        stage.machine.run(["systemctl", "start", f"{APP}@2.service"])
        stage.machine.wait_for(lambda: stage.status()["ready"] == 4, what="all instances")
        record = unharmed(load.stop())
    assert fresh(record).generations().keys() == {1}
    assert sorted(instances(stage)) == [1, 2, 3, 4]


@pytest.mark.thorough
def test_an_instance_is_started_by_hand_while_its_socket_is_closed(stage: Stage) -> None:
    """A connection that waited there has started its starter, which must not keep the socket from opening."""
    stage.deploy("v1", routing="steered")
    with stage.load(rate=200, keepalive=4) as load:
        stage.machine.run(["systemctl", "stop", DAEMON])  # the next steps are its own when it passes on what waits
        stage.machine.run(["systemctl", "stop", f"{APP}@2.service"])
        stage.machine.wait_unit(f"{APP}:start@2.service")
        stage.machine.run(["systemctl", "stop", f"{APP}@2.socket"])
        stage.machine.run(["systemctl", "start", f"{APP}@2.service"])
        stage.machine.run(["systemctl", "start", DAEMON])
        stage.machine.wait_for(lambda: stage.status()["ready"] == 4, what="all instances")
        unharmed(load.stop())
    assert sockets(stage) == {1, 2, 3, 4}
    assert sorted(instances(stage)) == [1, 2, 3, 4]
