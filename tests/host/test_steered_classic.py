"""Steering where the kernel gives less: classic BPF without CAP_BPF, one shared socket without CAP_SYS_PTRACE too."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.host.machine import Machine
from tests.host.stage import APP, Stage

DROP_IN = "/etc/systemd/system/deployd.service.d/50-capabilities.conf"
ORDER = f"/run/deployd/order/{APP}.json"


def without(machine: Machine, *capabilities: str) -> None:
    """Start deployd anew without these."""
    machine.write(DROP_IN, f"[Service]\nCapabilityBoundingSet=~{' '.join(capabilities)}\n")
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "restart", "deployd.service"])


@pytest.fixture(autouse=True)
def _whole_again(machine: Machine) -> Iterator[None]:
    yield
    machine.run(["rm", "-f", DROP_IN])
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "restart", "deployd.service"])


def generations(stage: Stage, requests: int) -> Counter[int]:
    """Who answers, each asked on a connection of its own."""
    return Counter(int(stage.get("/env")["environment"]["DEPLOYD_GENERATION"]) for _ in range(requests))


@pytest.mark.parametrize("surge", [1, 3, 0], ids=["one", "three", "in-place"])
def test_classic_bpf_steers_a_rollout(stage: Stage, surge: int) -> None:
    without(stage.machine, "CAP_BPF")
    stage.deploy("v1", routing="steered", rollout={"max_surge": surge})
    status = stage.status()
    assert (status["routing"], status["steering"]) == ("steered", "cbpf")
    assert "eBPF cannot be used" in status["steering_reason"]
    with stage.load(rate=200) as load:
        for number in (2, 3, 4):
            ended = stage.rollout(stage.release(f"v{number}"))
            assert ended.result == "succeeded", ended
            assert generations(stage, 40).keys() == {number}
        ended = stage.rollout(stage.release("v5", mode="crash"))
        assert ended.result == "rolled-back", ended
        record = load.stop()
    assert not record.failed, record.by_outcome()
    assert "eBPF cannot be used" in stage.status()["steering_reason"]
    (order,) = json.loads(stage.machine.read(ORDER)).values()
    assert len(order) == len(stage.invocations())
    assert stage.deployd("remove", APP).returncode == 0
    assert not stage.machine.path(ORDER).exists()


def test_a_canary_gets_its_share(stage: Stage) -> None:
    without(stage.machine, "CAP_BPF")
    stage.deploy("v1", routing="steered")
    ended = stage.begin("rollout", "--release", stage.release("v2"), "--canary", "1", "--no-block")
    with ended:
        ended.end()
    stage.machine.wait_for(lambda: stage.status()["rollout"]["phase"] == "paused", what="the canary")
    weights = {item["generation"]: 0.0 for item in stage.status()["instances"]}
    for item in stage.status()["instances"]:
        weights[item["generation"]] += item["weight"]
    seen = generations(stage, 400)
    assert abs(seen[2] / 4 - weights[2]) < 12, (seen, weights)
    stage.machine.run(["systemctl", "kill", "--signal=KILL", "deployd.service"])
    stage.machine.wait_unit("deployd.service")
    with stage.load(rate=200) as load:
        assert stage.change("resume", "--wait").result == "succeeded"
        assert generations(stage, 40).keys() == {2}
        record = load.stop()
    assert not record.failed, record.by_outcome()
    assert "eBPF cannot be used" in stage.status()["steering_reason"]


def test_after_a_reboot_the_order_is_known(own_stage: Stage) -> None:
    without(own_stage.machine, "CAP_BPF")
    own_stage.deploy("v1", routing="steered")
    own_stage.machine.reboot()
    own_stage.machine.wait_for(lambda: own_stage.status()["ready"] == 4, what="all instances")
    assert "eBPF cannot be used" in own_stage.status()["steering_reason"]
    with own_stage.load(rate=200) as load:
        assert own_stage.rollout(own_stage.release("v2")).result == "succeeded"
        assert generations(own_stage, 40).keys() == {2}
        record = load.stop()
    assert not record.failed, record.by_outcome()


def test_an_order_that_is_lost_is_told(stage: Stage) -> None:
    """Whoever steered by eBPF followed no order."""
    stage.deploy("v1", routing="steered")
    without(stage.machine, "CAP_BPF")
    stage.machine.wait_for(lambda: "order" in stage.status()["steering_reason"], what="the reason")
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    assert generations(stage, 40).keys() == {2}
    stage.machine.run(["systemctl", "stop", f"{APP}.service", f"{APP}@*.socket"])
    stage.machine.run(["systemctl", "start", f"{APP}.service"])
    stage.machine.wait_for(lambda: "eBPF" in stage.status()["steering_reason"], what="a known order")
    with stage.load(rate=200) as load:
        assert stage.rollout(stage.release("v3")).result == "succeeded"
        assert generations(stage, 40).keys() == {3}
        record = load.stop()
    assert not record.failed, record.by_outcome()


def test_with_nothing_all_share_a_socket(stage: Stage) -> None:
    without(stage.machine, "CAP_BPF", "CAP_SYS_PTRACE")
    stage.deploy("v1", routing="steered")
    status = stage.status()
    assert status["steering"] == "none"
    assert stage.show(f"{APP}.socket", "ActiveState")["ActiveState"] == "active"
    assert "cannot be steered" in status["steering_reason"]
    with stage.load(rate=200) as load:
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        record = load.stop()
    assert not record.failed, record.by_outcome()
    refused = stage.deployd("rollout", APP, "--canary", "5%")
    assert refused.returncode == 3
    assert "cannot be steered here" in refused.stderr
    assert "--canary N" in refused.stderr


def test_a_daemon_that_may_less_than_before_lets_the_kernel_go_on(stage: Stage) -> None:
    stage.deploy("v1", routing="steered")
    with stage.load(rate=100) as load:
        without(stage.machine, "CAP_BPF", "CAP_SYS_PTRACE")
        status = stage.status()
        assert (status["steering"], status["ready"]) == ("none", 4)
        assert "cannot be steered" in status["steering_reason"]
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        load.stop()
    assert {item["generation"] for item in stage.status()["instances"]} == {2}
