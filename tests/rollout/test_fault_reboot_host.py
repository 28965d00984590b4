"""The machine is shut down or loses power: all apps run again without the daemon, and rollouts continue."""

from __future__ import annotations

import pytest

from tests.host.faults import BOOT
from tests.host.stage import APP, DEADLINE, INSTANCES, Stage

POWER = pytest.mark.parametrize("clean", [True, False], ids=["shut-down", "power-cut"])
PINS = "/var/lib/deployd/apps/demo/pins"


@pytest.fixture
def stage(own_stage: Stage) -> Stage:
    return own_stage


def units(stage: Stage) -> list[str]:
    """Return the units of the instances that are up."""
    listing = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active", f"{APP}@*.service"]
    return [line.split()[0] for line in stage.machine.run(listing).stdout.splitlines()]


@pytest.mark.thorough
@POWER
def test_an_app_runs_again_without_the_daemon(stage: Stage, clean: bool) -> None:
    machine = stage.machine
    stage.deploy("v1")
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    pins = {pin.name: pin.readlink().name for pin in machine.path(PINS).iterdir()}
    machine.run(["systemctl", "mask", "deployd.service"])
    stage.close()
    machine.reboot(clean=clean)
    load = stage.load()
    machine.wait_unit("demo.service")
    machine.wait_for(lambda: len(units(stage)) == INSTANCES, what="all instances")
    assert {unit.partition("@")[2].removesuffix(".service") for unit in units(stage)} == set(pins)
    assert set(pins.values()) == {"2"}
    record = load.stop()
    assert not record.failed, record.summary()
    assert set(record.generations()) == {2}
    # The daemon, once it is unmasked, finds everything in order.
    machine.run(["systemctl", "unmask", "deployd.service"])
    machine.run(["systemctl", "start", "deployd.service"])
    assert (stage.status()["generation"], stage.status()["ready"]) == (2, INSTANCES)
    assert stage.rollout("/srv/demo/v1").result == "succeeded"


@pytest.mark.sampled
@POWER
def test_a_rollout_ends_after_a_reboot(stage: Stage, clean: bool) -> None:
    machine = stage.machine
    release = stage.release("v2", boot=BOOT)
    stage.deploy("v1")
    begun = stage.begin("rollout", "--release", release)
    begun.until("instance", state="stopped")
    machine.poweroff(clean=clean)
    stage.close()
    machine.start()
    load = stage.load()
    machine.wait_for(lambda: stage.status()["rollout"] is None, timeout=DEADLINE, what="the end of the rollout")
    newest = stage.history()[0]
    assert (newest["generation"], newest["result"]) in ((2, "succeeded"), (2, "rolled-back")), newest
    serving = 2 if newest["result"] == "succeeded" else 1
    status = stage.status()
    assert [item["generation"] for item in status["instances"] if item["ready"]] == [serving] * INSTANCES
    assert status["generation"] == serving
    record = load.stop()
    assert not record.failed, record.summary()
    ended = stage.rollout("/srv/demo/v1")
    assert (ended.status, ended.result, ended.generation) == (0, "succeeded", 3)


@pytest.mark.thorough
def test_a_bad_release_is_rolled_back_after_a_power_cut(stage: Stage) -> None:
    machine = stage.machine
    release = stage.release("bad", "hang")
    stage.deploy("v1", gate={"timeout": "3s"})
    begun = stage.begin("rollout", "--release", release)
    begun.until("instance", state="starting")
    machine.poweroff(clean=False)
    stage.close()
    machine.start()
    load = stage.load()
    machine.wait_for(lambda: stage.status()["rollout"] is None, timeout=DEADLINE, what="the end of the rollout")
    newest = stage.history()[0]
    assert (newest["generation"], newest["result"]) == (2, "rolled-back")
    assert "READY=1" in newest["reason"]
    assert {ran.generation for ran in stage.invocations().values()} == {1}
    assert stage.status()["ready"] == INSTANCES
    record = load.stop()
    assert not record.failed, record.summary()
    assert set(record.generations()) == {1}


@pytest.mark.thorough
def test_a_stopped_app_starts_with_the_first_connection_after_a_reboot(stage: Stage) -> None:
    """Its units are enabled like those of any service, and start at boot."""
    stage.deploy("v1")
    stage.machine.run(["systemctl", "stop", "demo.service"])
    stage.machine.reboot(clean=False)
    assert stage.get()["generation"] == 1
    stage.machine.wait_for(lambda: stage.status()["ready"] == INSTANCES, what="all instances")
