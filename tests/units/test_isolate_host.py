"""Targets want an app that has been applied immediately, not only after the next daemon-reload."""

from __future__ import annotations

import pytest

from tests.host.stage import APP, PORT, Stage

WANTS = "/etc/systemd/system"


def links(stage: Stage) -> list[str]:
    return sorted(path.name for path in stage.machine.path(WANTS).glob(f"*.wants/{APP}*"))


def isolate(stage: Stage, target: str = "multi-user.target") -> None:
    stage.machine.run(["systemctl", "isolate", target])


@pytest.mark.sampled
@pytest.mark.parametrize("settings", [{}, {"routing": "steered"}, {"listen": [f"127.0.0.1:{PORT}", "/run/demo.sock"]}])
def test_a_new_app_survives_isolate(stage: Stage, settings: dict[str, object]) -> None:
    stage.deploy("v1", **settings)
    before = stage.invocations()
    isolate(stage)
    assert stage.invocations() == before
    assert stage.get()["version"] == "v1"
    stage.machine.run(["systemctl", "daemon-reload"])
    isolate(stage, "default.target")
    assert stage.invocations() == before
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    assert stage.deployd("remove", APP).returncode == 0
    assert links(stage) == []


@pytest.mark.thorough
def test_a_socket_that_is_added_later_survives_isolate(stage: Stage) -> None:
    stage.deploy("v1")
    stage.configure(listen=[f"127.0.0.1:{PORT}", f"127.0.0.1:{PORT + 1}"])
    assert stage.change("apply").result == "succeeded"
    before = stage.invocations()
    isolate(stage)
    assert stage.invocations() == before
    assert stage.get(port=PORT + 1)["version"] == "v1"
    stage.configure(listen=[f"127.0.0.1:{PORT + 1}"])
    assert stage.change("apply").result == "succeeded"
    isolate(stage)
    assert stage.get(port=PORT + 1)["version"] == "v1"
    assert links(stage) == [f"{APP}.service", f"{APP}:2.socket"]


@pytest.mark.thorough
def test_an_app_that_was_only_installed_is_enabled(stage: Stage) -> None:
    stage.configure(release=stage.release("v1"))
    assert stage.deployd("apply", APP, "--no-start").returncode == 0
    isolate(stage)
    assert stage.get()["version"] == "v1", "the first connection starts it"


@pytest.mark.thorough
def test_isolate_does_not_stop_a_hook(stage: Stage) -> None:
    stage.deploy("v1", instances=1)
    stage.configure(rollout={"hooks": {"before": [["./bin/wait"]]}})
    wait = "#!/bin/sh\nwhile [ ! -e /run/go ]; do sleep 0.1; done\n"
    with stage.begin("rollout", "--release", stage.release("v2", files={"bin/wait": wait})) as begun:
        stage.machine.wait_unit(f"{APP}:hook.service", "activating")
        isolate(stage)
        stage.machine.write("/run/go", "")
        ended = begun.end()
    stage.machine.run(["rm", "/run/go"])
    assert ended.result == "succeeded", ended


@pytest.mark.thorough
def test_an_app_that_was_disabled_stays_disabled(stage: Stage) -> None:
    """As long as it is up; applying an app that is down enables it."""
    stage.deploy("v1")
    stage.machine.run(["systemctl", "disable", f"{APP}.service", f"{APP}.socket"])
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    stage.machine.run(["systemctl", "reload", APP])
    assert links(stage) == []
    stage.machine.run(["systemctl", "stop", f"{APP}.service", f"{APP}.socket"])
    assert stage.rollout(stage.release("v3")).result == "succeeded"
    assert links(stage) == [f"{APP}.service", f"{APP}.socket"]
