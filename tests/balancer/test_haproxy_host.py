"""HAProxy before three hosts, by its own checks: drains by hand and around rollouts, and a host whose app is down."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.balancer.haproxy import DOWN, UP
from tests.balancer.site import Site, command, drained, site
from tests.host.fixtures import MachineFactory
from tests.host.machine import Machine
from tests.host.stage import APP
from tests.load.record import Outcome

pytestmark = pytest.mark.thorough


@pytest.fixture
def behind(machine: Machine, machine_factory: MachineFactory) -> Iterator[Site]:
    hosts = [machine, machine_factory("web2"), machine_factory("web3")]
    with site(hosts, machine_factory("front", install=False)) as found:
        yield found


def test_hosts_are_drained_rolled_out_and_taken_out_by_the_check(behind: Site) -> None:
    one, *_ = behind.stages
    first, second, third = behind.balancer.hosts
    with behind.balancer.load(rate=100, keepalive=6) as load:
        command(one, "drain")
        behind.balancer.wait(**{first: DOWN, second: UP, third: UP})
        load.mark("drained-start")
        command(one, "undrain")
        behind.balancer.wait(**{first: UP})
        load.mark("drained-end")
        for stage in behind.stages:
            assert stage.rollout(stage.release("v2")).result == "succeeded"
        assert behind.versions() == ["v2"] * 3

        before = load.mark("down")
        one.systemctl("stop", f"{APP}.socket", f"{APP}.service")  # no drain: what comes until it is noticed fails
        behind.balancer.wait(**{first: DOWN})
        noticed = load.mark("noticed")
        one.systemctl("start", f"{APP}.socket", f"{APP}.service")
        behind.balancer.wait(**{first: UP})
        load.mark("back")
        record = load.stop()
    assert record.by_outcome()[Outcome.OK] > 20, record.summary()
    failed = [item for item in record.failed if not before <= item.start <= noticed]
    assert not failed, (failed[:5], record.summary())


SETTINGS = """
[host]
drain = true
drain_wait = "2s"
"""
"""HAProxy checks every 100 ms; the rest is for a machine that is busy."""


def test_each_host_is_drained_around_its_rollout(behind: Site) -> None:
    one, *_ = behind.stages
    for stage in behind.stages:
        stage.machine.write("/etc/deployd/deployd.toml", SETTINGS)
        stage.systemctl("restart", "deployd")
    first, second, third = behind.balancer.hosts
    with behind.balancer.load(rate=100, keepalive=6) as load:
        for stage in behind.stages:
            assert stage.rollout(stage.release("v2")).result == "succeeded"
            assert drained(stage) == ""
        assert behind.balancer.outages() == {first: 1, second: 1, third: 1}, "each was taken out once, and is back"

        failed = one.rollout(one.release("bad", "crash"))
        assert failed.result == "rolled-back", failed
        assert drained(one) == ""

        command(one, "drain", "--reason", "a disk")
        with one.begin("rollout", "--release", one.release("v3")) as begun:
            begun.until("waiting")
            one.systemctl("kill", "--signal=KILL", "deployd")
            assert begun.end().result == "succeeded"
        assert drained(one) == "a disk", "the drain by hand stays, and no other"
        command(one, "undrain")
        behind.balancer.wait(**dict.fromkeys(behind.balancer.hosts, UP))
        record = load.stop()
    assert behind.versions() == ["v3", "v2", "v2"]
    assert not record.failed, (record.failed[:5], record.summary())
