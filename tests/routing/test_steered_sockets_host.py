"""The socket units of a steered app's instances, and somebody else's hands on them."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.host.stage import APP, Stage
from tests.host.steered import DAEMON, asked, fresh, sockets, unharmed


def instances(stage: Stage, requests: int = 40) -> Counter[int]:
    """Who answers, asked on a connection of its own each time."""
    return Counter(int(stage.get()["instance"]) for _ in range(requests))


def mended(stage: Stage, number: int, before: str) -> bool:
    """It runs anew, with a socket that leads to it."""
    item = next(item for item in stage.status()["instances"] if item["instance"] == number)
    return item["ready"] and item["invocation_id"] != before and bool(item["weight"])


@pytest.mark.parametrize("count", [4, 1])
@pytest.mark.parametrize("verb", ["restart", "stop"])
def test_a_socket_is_restarted_or_stopped(stage: Stage, verb: str, count: int) -> None:
    """Its instance accepts from a listener that only it has still: it gets a new one, and nobody waits in vain."""
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


def test_all_sockets_are_restarted_at_once(stage: Stage) -> None:
    stage.deploy("v1", routing="steered")
    before = stage.invocations()
    with stage.load(rate=200, keepalive=4) as load:
        stage.machine.run(["systemctl", "restart", f"{APP}@*.socket"])
        for number, ran in before.items():
            stage.machine.wait_for(lambda n=number, ran=ran: mended(stage, n, ran.invocation), what="the new socket")  # type: ignore[misc]
        unharmed(load.stop())
    assert sorted(instances(stage)) == [1, 2, 3, 4]


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
    """Its socket stays: what comes meanwhile goes to the others, or waits for it."""
    stage.deploy("v1", routing="steered")
    with stage.load(rate=200, keepalive=4) as load:
        stage.machine.run(["systemctl", "restart", f"{APP}@1.service"])
        stage.machine.run(["systemctl", "stop", f"{APP}@2.service"])
        stage.machine.run(["systemctl", "start", f"{APP}@2.service"])
        stage.machine.wait_for(lambda: stage.status()["ready"] == 4, what="all instances")
        record = unharmed(load.stop())
    assert fresh(record).generations().keys() == {1}
    assert sorted(instances(stage)) == [1, 2, 3, 4]


def test_an_instance_is_started_by_hand_while_its_socket_is_closed(stage: Stage) -> None:
    """A connection that waited there has started the app, which must not keep the socket from opening."""
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
