"""Steered apps if deployd lacks a capability for steering: they are served, and status gives the reason."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.host.machine import Machine
from tests.host.stage import APP, Stage

DROP_IN = "/etc/systemd/system/deployd.service.d/50-capabilities.conf"
NO_BPF = "cannot create BPF maps, which needs CAP_BPF: Operation not permitted"
NO_PTRACE = "cannot take a file descriptor from process 1, which needs CAP_SYS_PTRACE: Operation not permitted"


def without(machine: Machine, capability: str) -> None:
    """Restart deployd without the capability."""
    machine.write(DROP_IN, f"[Service]\nCapabilityBoundingSet=~{capability}\n")
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "restart", "deployd.service"])


def with_all(machine: Machine) -> None:
    """Restart deployd with all its capabilities."""
    machine.run(["rm", "-f", DROP_IN])
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "restart", "deployd.service"])


@pytest.fixture(autouse=True)
def _all_capabilities_again(machine: Machine) -> Iterator[None]:
    yield
    with_all(machine)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("capability", "reason"), [("CAP_BPF", NO_BPF), ("CAP_SYS_PTRACE", NO_PTRACE)], ids=["no-bpf", "no-ptrace"]
)
def test_an_app_is_deployed_with_one_shared_socket(stage: Stage, capability: str, reason: str) -> None:
    without(stage.machine, capability)
    stage.deploy("v1", routing=None)
    status = stage.status()
    assert (status["routing"], status["steering"]) == ("shared", "none")
    assert status["steering_reason"] == reason
    assert f"not steered: {reason[:20]}" in stage.deployd("status", APP).stdout
    assert stage.show(f"{APP}.socket", "ActiveState")["ActiveState"] == "active"
    with stage.load(rate=200) as load:
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        assert stage.rollout(stage.release("v3", mode="crash")).result == "rolled-back"
        record = load.stop()
    assert not record.failed, record.by_outcome()
    refused = stage.deployd("rollout", APP, "--canary", "5%")
    assert refused.returncode == 3
    assert "cannot be steered here" in refused.stderr
    assert "--canary N" in refused.stderr


@pytest.mark.thorough
def test_the_shared_socket_stays_until_the_next_rollout(stage: Stage) -> None:
    without(stage.machine, "CAP_BPF")
    stage.deploy("v1", routing="steered")
    with_all(stage.machine)
    status = stage.status()
    assert (status["steering"], status["ready"]) == ("none", 4)
    assert status["steering_reason"].endswith("when the app was deployed; the next rollout changes that")
    with stage.load(rate=200) as load:
        assert stage.change("apply").result == "succeeded"
        record = load.stop()
    assert not record.failed, record.by_outcome()
    status = stage.status()
    assert (status["steering"], status["steering_reason"], status["ready"]) == ("ebpf", "", 4)


def test_an_app_with_sockets_of_its_own_is_served_without_capabilities(stage: Stage) -> None:
    stage.deploy("v1", routing="steered", rollout={"standby": "10min"})
    with stage.load(rate=100) as load:
        without(stage.machine, "CAP_BPF")
        status = stage.status()
        assert (status["steering"], status["ready"]) == ("none", 4)
        assert status["steering_reason"] == f"deployd cannot change which instances get new connections: {NO_BPF}"
        assert status["shares"] == []
        assert {item["weight"] for item in status["instances"]} == {None}
        refused = stage.deployd("rollout", APP, "--canary", "5%")
        assert (refused.returncode, "cannot be steered here" in refused.stderr) == (3, True)
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        load.stop()
    status = stage.status()
    assert {item["generation"] for item in status["instances"]} == {2}
    assert status["standby"] is None, "an unsteered connection would wait at a frozen instance"
    assert stage.get("/env")["environment"]["DEPLOYD_GENERATION"] == "2"


@pytest.mark.thorough
def test_an_app_with_sockets_of_its_own_is_served_after_a_reboot_without_capabilities(own_stage: Stage) -> None:
    own_stage.deploy("v1", routing="steered")
    without(own_stage.machine, "CAP_BPF")
    own_stage.machine.reboot()
    own_stage.machine.wait_for(lambda: own_stage.status()["ready"] == 4, what="all instances")
    assert NO_BPF in own_stage.status()["steering_reason"]
    with own_stage.load(rate=200) as load:
        found = {own_stage.get("/env")["environment"]["DEPLOYD_INSTANCE"] for _ in range(40)}
        record = load.stop()
    assert not record.failed, record.by_outcome()
    assert len(found) > 1, "the kernel picks by hash"
    assert own_stage.rollout(own_stage.release("v2")).result == "succeeded"
    assert own_stage.get("/env")["environment"]["DEPLOYD_GENERATION"] == "2"
