"""During a rollout systemd re-executes or reloads itself, or the bus restarts."""

from __future__ import annotations

import pytest

from tests.host.faults import Scene, daemon_pid
from tests.host.stage import Begun, Stage

STEPS = ("starting", "ready", "stopping", "stopped")


@pytest.mark.sampled
@pytest.mark.parametrize("verb", ["daemon-reexec", "daemon-reload"])
def test_systemd_reloads_at_each_step_of_a_rollout(stage: Stage, verb: str) -> None:
    def fault(stage: Stage, begun: Begun) -> None:
        for step in STEPS:
            begun.until("instance", state=step)
            stage.machine.run(["systemctl", verb])

    scene = Scene(stage)
    pid = daemon_pid(stage)
    scene.check_succeeded(scene.roll_out(fault))
    assert daemon_pid(stage) == pid, "the daemon was not restarted"


@pytest.mark.thorough
def test_systemd_reexecutes_while_the_daemon_is_down(stage: Stage) -> None:
    def fault(stage: Stage, begun: Begun) -> None:
        begun.until("instance", state="ready")
        stage.machine.run(["systemctl", "kill", "--signal=KILL", "deployd.service"])
        stage.machine.run(["systemctl", "daemon-reexec"])

    scene = Scene(stage)
    scene.check_succeeded(scene.roll_out(fault))


@pytest.mark.thorough
def test_the_bus_restarts(stage: Stage) -> None:
    """The daemon ends and starts with the bus; the command reports that it lost the rollout."""
    scene = Scene(stage)
    machine = stage.machine
    before = daemon_pid(stage)
    begun = stage.begin("rollout", "--release", scene.release)
    begun.until("instance", state="ready")
    machine.run(["systemctl", "kill", "--signal=KILL", "dbus.service"])
    ended = begun.end()
    assert ended.status == 5, ended
    assert "the rollout continues" in ended.stderr
    assert "Traceback" not in ended.stderr
    machine.wait_unit("deployd.service")
    machine.wait_for(lambda: stage.status()["rollout"] is None, what="the end of the rollout")
    assert daemon_pid(stage) != before
    newest = stage.history()[0]
    assert (newest["generation"], newest["result"]) == (2, "succeeded")
    assert {ran.generation for ran in stage.invocations().values()} == {2}
    scene.check_unharmed()
