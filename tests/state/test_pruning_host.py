"""Repeated rollouts of an app: old generations are pruned with their files, and their numbers are not reused."""

from __future__ import annotations

import pytest

from tests.host.stage import APP, Stage

pytestmark = pytest.mark.thorough

DAEMON = "deployd.service"


def test_old_generations_are_pruned_and_their_numbers_are_not_reused(stage: Stage) -> None:
    machine = stage.machine
    machine.write(f"/run/systemd/system/{DAEMON}.d/few.conf", "[Service]\nEnvironment=DEPLOYD_GENERATIONS=3\n")
    machine.run(["systemctl", "daemon-reload"])
    machine.run(["systemctl", "restart", DAEMON])
    stage.deploy("v1", instances=2)
    for number in range(2, 14):
        mode = "good" if number in (2, 3) else "crash"
        ended = stage.rollout(stage.release(f"v{number}", mode))
        assert ended.generation == number
    # The newest three, the current one, and the target of a rollback.
    assert [row["generation"] for row in stage.history()] == [13, 12, 11, 3, 2]
    directories = {int(path.name) for path in machine.path(f"/var/lib/deployd/apps/{APP}/generations").iterdir()}
    assert directories == {13, 12, 11, 3, 2}
    assert stage.status()["generation"] == 3
    back = stage.change("rollback", "--to", "2")
    assert (back.result, back.generation) == ("succeeded", 14)
    assert stage.status()["release"] == "/srv/demo/v2"
    machine.run(["systemctl", "restart", DAEMON])
    assert stage.rollout(stage.release("v15")).generation == 15
