"""A loss of power while `listen` changes: open addresses are open again, and the change is completed."""

from __future__ import annotations

import pytest

from tests.host.faults import BOOT
from tests.host.stage import DEADLINE, INSTANCES, Stage
from tests.units.listen_change import (
    NEW,
    NEW_LISTEN,
    OLD,
    OLD_LISTEN,
    POINTS,
    SECOND,
    listening,
    load_on_new,
    reach,
    refused,
    wanted_at_boot,
)


@pytest.fixture
def stage(own_stage: Stage) -> Stage:
    return own_stage


@pytest.mark.sampled
@pytest.mark.parametrize("point", [point for point in POINTS if point != "begun"])
def test_a_loss_of_power_during_the_change(stage: Stage, point: str) -> None:
    machine = stage.machine
    stage.deploy("v1", listen=OLD_LISTEN)
    stage.configure(listen=NEW_LISTEN, release=stage.release("v2", boot=BOOT))
    begun = stage.begin("apply")
    reach(begun, point)
    machine.run(["systemctl", "mask", "deployd.service"])
    machine.poweroff(clean=False)
    stage.close()
    machine.start()
    machine.wait_unit("demo.service")
    open_again = NEW_LISTEN if point in ("last", "closed") else [*OLD_LISTEN, *NEW_LISTEN]
    assert set(listening(stage)) >= set(open_again)
    if point != "starting":  # until then no instance accepts on the new one
        assert stage.get(port=NEW[1])["generation"] == 2
    machine.run(["systemctl", "unmask", "deployd.service"])
    machine.run(["systemctl", "start", "deployd.service"])
    with load_on_new(stage) as load:
        machine.wait_for(lambda: stage.status()["rollout"] is None, timeout=DEADLINE, what="the end of the rollout")
        record = load.stop()
    assert not record.failed, record.by_outcome()
    newest = stage.history()[0]
    assert (newest["generation"], newest["result"]) == (2, "succeeded")
    assert [ran.generation for ran in stage.invocations().values()] == [2] * INSTANCES
    assert refused(stage, OLD)
    assert listening(stage) == NEW_LISTEN
    assert wanted_at_boot(stage) == {SECOND}
    for number in stage.invocations():
        assert stage.process(number)[1]["LISTEN_FDS"] == "1"
