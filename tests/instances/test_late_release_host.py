"""The release is on a file system that is mounted late."""

from __future__ import annotations

import pytest

from tests.host.stage import APP, Stage
from tests.sample_apps.release import make_release

pytestmark = pytest.mark.thorough

MOUNT = "/srv/late"
KEPT = "/srv/kept"


def test_instances_wait_for_their_release(stage: Stage) -> None:
    machine = stage.machine
    make_release(machine.path(f"{MOUNT}/v1"), "v1")
    stage.configure(release=f"{MOUNT}/v1", instances=2)
    assert stage.change("apply").result == "succeeded"
    machine.run(["mv", MOUNT, KEPT])
    machine.run(["mkdir", MOUNT])
    machine.run(["systemctl", "kill", "--signal=KILL", f"{APP}@1.service", f"{APP}@2.service"])

    def waiting() -> bool:
        details = [item["detail"] for item in stage.status()["instances"]]
        return len(details) == 2 and all(detail.startswith("waits for its release") for detail in details)

    machine.wait_for(waiting, what="both instances to wait", timeout=60)
    assert stage.status()["health"] == "down"
    machine.run(["mount", "--bind", KEPT, MOUNT])
    try:
        machine.wait_for(lambda: stage.status()["health"] == "ok", what="both instances", timeout=60)
        assert stage.get()["version"] == "v1"
        assert [item["crashes"] for item in stage.status()["instances"]] == [0, 0]
    finally:
        machine.run(["umount", "--lazy", MOUNT])
