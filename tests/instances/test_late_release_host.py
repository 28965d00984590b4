"""The release is on a file system that is mounted late."""

from __future__ import annotations

from tests.host.stage import APP, RELEASES, Stage

KEPT = f"{RELEASES}/kept"


def test_instances_wait_for_their_release(stage: Stage) -> None:
    stage.deploy("v1", instances=2)
    release = f"{RELEASES}/v1"
    stage.machine.run(["mv", release, KEPT])
    stage.machine.run(["systemctl", "kill", "--signal=KILL", f"{APP}@1.service", f"{APP}@2.service"])

    def waiting() -> bool:
        details = [item["detail"] for item in stage.status()["instances"]]
        return len(details) == 2 and all(detail.startswith("waits for its release") for detail in details)

    stage.machine.wait_for(waiting, what="both instances to wait", timeout=60)
    assert stage.status()["health"] == "down"
    stage.machine.run(["mkdir", release])
    stage.machine.run(["mount", "--bind", KEPT, release])
    try:
        stage.machine.wait_for(lambda: stage.status()["health"] == "ok", what="both instances", timeout=60)
        assert stage.get()["version"] == "v1"
        assert [item["crashes"] for item in stage.status()["instances"]] == [0, 0]
    finally:
        stage.machine.run(["umount", "--lazy", release])
