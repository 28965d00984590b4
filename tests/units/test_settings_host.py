"""Unit settings belong to a generation: an old instance keeps them, and one daemon-reload serves all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.host.stage import APP, INSTANCES, Stage
from tests.rollout.test_restarts_host import again

UNITS = "/etc/systemd/system"


def nice(stage: Stage, instance: int) -> int:
    """Return the nice value of the main process of an instance (proc(5), field 19 of stat)."""
    stat = stage.machine.read(f"/proc/{stage.pid(instance)}/stat")
    return int(stat.rpartition(")")[2].split()[16])


def own_units(stage: Stage) -> list[str]:
    return sorted(path.name for path in Path(stage.machine.path(UNITS)).glob(f"{APP}@[0-9]*.service"))


@pytest.mark.thorough
@pytest.mark.parametrize("surge", [1, 0], ids=["surge", "in-place"])
def test_an_old_instance_keeps_its_unit_settings(stage: Stage, surge: int) -> None:
    stage.deploy("v1", service={"Nice": 1}, rollout={"max_surge": surge})
    before, reloaded = stage.invocations(), stage.journal.daemon_reloads()
    stage.configure(service={"Nice": 2}, rollout={"max_surge": surge})
    with stage.load(rate=100) as load:
        with stage.begin("rollout", "--release", stage.release("v2", barrier=True)) as begun:
            begun.until("instance", state="starting")
            assert stage.deployd("pause", APP).returncode == 0
            assert own_units(stage) == [f"{APP}@{number}.service" for number in range(1, INSTANCES + 1)]
            held = stage.kill(1)
            after = again(stage, 1, before[1])
            assert (after.generation, nice(stage, 1)) == (1, 1)
            assert stage.deployd("resume", APP).returncode == 0
            stage.admit()
            ended = begun.end()
        record = load.stop()
    assert ended.result == "succeeded", ended
    assert len(record.failed) <= held, record.by_outcome()
    running = stage.invocations()
    assert len(running) == INSTANCES
    assert {nice(stage, number) for number in running} == {2}
    # New instances have other numbers, so that no unit file changes during the rollout.
    assert not set(running) & set(before)
    assert stage.journal.daemon_reloads() == reloaded + 1

    # The next rollout removes what the last one needed.
    assert stage.rollout(stage.release("v3")).result == "succeeded"
    assert own_units(stage) == []
    assert len(stage.invocations()) == INSTANCES


@pytest.mark.thorough
def test_a_rollback_restores_the_unit_settings(stage: Stage) -> None:
    stage.deploy("v1", service={"Nice": 1})
    before = stage.invocations()
    stage.configure(service={"Nice": 2})
    assert stage.rollout(stage.release("v2", mode="crash")).result == "rolled-back"
    assert stage.invocations() == before
    held_back = stage.show(f"{APP}@1.service", "Nice")
    assert held_back == {"Nice": "1"}
    stage.kill(1)
    again(stage, 1, before[1])
    assert nice(stage, 1) == 1
    assert not any(f"{APP}@{number}.service" in own_units(stage) for number in before)


@pytest.mark.thorough
def test_settings_that_need_no_new_process_apply_at_once(stage: Stage) -> None:
    stage.deploy("v1", stop={"timeout": "20s"})
    before = stage.invocations()
    stage.configure(stop={"timeout": "7s"})
    assert stage.change("apply").result == "succeeded"
    assert {number: ran.pid for number, ran in stage.invocations().items()} == {
        number: ran.pid for number, ran in before.items()
    }
    assert stage.show(f"{APP}@1.service", "TimeoutStopUSec") == {"TimeoutStopUSec": "7s"}
    assert own_units(stage) == []


@pytest.mark.thorough
def test_remove_removes_units_of_single_instances(stage: Stage) -> None:
    stage.deploy("v1", service={"Nice": 1})
    stage.configure(service={"Nice": 2})
    with stage.begin("rollout", "--release", stage.release("v2", barrier=True)) as begun:
        begun.until("instance", state="starting")
        assert stage.deployd("pause", APP).returncode == 0
        assert own_units(stage)
        assert stage.deployd("remove", APP).returncode == 0
    assert own_units(stage) == []
