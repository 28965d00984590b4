"""Drains on a host: what its health endpoint and the files for static checks say, to users without rights."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.host.stage import APP, DEADLINE, Stage
from tests.host.steered import unharmed
from tests.monitoring import endpoint

CLIENT = "nobody"
HOST = "http://127.0.0.1:9968/"
DEMO = f"{HOST}{APP}"
UP = "/var/lib/deployd/up"


def code(stage: Stage, url: str, *options: str) -> str:
    """Return the HTTP status of a request."""
    curl = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--max-time", str(DEADLINE)]
    return stage.machine.run([*curl, *options, url], user=CLIENT, timeout=DEADLINE).stdout


def codes(stage: Stage) -> tuple[str, str]:
    """Return what host and app are answered; the files for static checks say the same."""
    found = (code(stage, HOST), code(stage, DEMO))
    files = tuple("200" if stage.machine.path(f"{UP}/{name}").exists() else "503" for name in ("host", f"apps/{APP}"))
    assert files == found
    return found


@pytest.fixture
def served(stage: Stage) -> Iterator[Stage]:
    """A host on which the administrator has started the socket."""
    with endpoint.started(stage, "deployd-health"):
        yield stage


def test_load_balancers_see_a_drain_and_clients_do_not(served: Stage) -> None:
    stage = served
    assert code(stage, DEMO) == "404"
    stage.deploy("v1")
    assert codes(stage) == ("200", "200")
    with stage.load(rate=100, keepalive=2) as load:
        assert stage.deployd("drain", APP, "--reason", "a migration", "--drain-wait", "10ms").returncode == 0
        assert codes(stage) == ("200", "503")
        assert "demo is drained since" in stage.deployd("status", APP).stdout
        assert stage.deployd("drain", "--reason", "new kernel").returncode == 0
        assert codes(stage) == ("503", "503")
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        assert codes(stage) == ("503", "503")
        assert stage.deployd("undrain").returncode == 0
        assert codes(stage) == ("200", "503")
        found = json.loads(stage.deployd("status", APP, "--json").stdout)["drain"]
        assert (found["what"], found["reason"]) == ("app", "a migration")
        assert stage.deployd("undrain", APP).returncode == 0
        assert codes(stage) == ("200", "200")
        unharmed(load.stop())
    for method in ("HEAD", "OPTIONS"):
        assert code(stage, DEMO, *(["--head"] if method == "HEAD" else ["--request", method])) == "200"
    assert (code(stage, DEMO, "--data", "x"), code(stage, f"{HOST}none"), code(stage, f"{HOST}a/b")) == (
        "405",
        "404",
        "404",
    )
    service = stage.show("deployd-health.service", "ActiveState", "MainPID")
    assert service["ActiveState"] == "active"
    assert stage.machine.path(f"/proc/{service['MainPID']}").stat().st_uid != 0


@pytest.mark.thorough
def test_the_answer_needs_no_daemon(served: Stage) -> None:
    stage = served
    stage.deploy("v1")
    assert stage.deployd("drain", APP).returncode == 0
    stage.machine.run(["systemctl", "stop", "deployd"])
    assert codes(stage) == ("200", "503")
    stage.machine.run(["systemctl", "start", "deployd"])
    assert codes(stage) == ("200", "503"), "a drain outlives the daemon"
    assert stage.deployd("undrain", APP).returncode == 0
    stage.machine.run(["systemctl", "stop", "deployd"])
    assert codes(stage) == ("200", "200"), "apps serve without it"
    stage.machine.run(["systemctl", "start", "deployd"])
    stage.machine.run(["systemctl", "stop", f"{APP}.service", f"{APP}.socket"])
    assert code(stage, DEMO) == "503"
    assert stage.deployd("drain", APP).returncode == 0
    assert stage.deployd("remove", APP).returncode == 0
    stage.deploy("v1")
    assert codes(stage) == ("200", "200"), "a removed app leaves no drain"


@pytest.mark.thorough
def test_only_who_may_drains(served: Stage) -> None:
    stage = served
    stage.deploy("v1", instances=1)
    for command in (["drain"], ["undrain"], ["drain", APP], ["undrain", APP]):
        refused = stage.deployd(*command, user=CLIENT)
        assert refused.returncode == 3, refused
        assert "org.deployd1.drain" in refused.stderr
    assert codes(stage) == ("200", "200")
