"""[gate] smoke: tests of the first new instance, before any client reaches it."""

from __future__ import annotations

import time

import pytest

from tests.host.stage import APP, RELEASES, Ran, Stage
from tests.host.steered import DAEMON, generations, unharmed

SAID = f"{RELEASES}/said"
ASK = """\
#!/bin/sh
set -e
curl -sS --fail --unix-socket "$DEPLOYD_PREVIEW" http://demo/ > answer.$DEPLOYD_INSTANCE
grep -q '"generation": 2' answer.$DEPLOYD_INSTANCE
echo "$(id -un) $DEPLOYD_GENERATION" >> /srv/demo/said/runs
"""
NO = "#!/bin/sh\necho GET /login answered 500 >&2\nexit 3\n"
HANG = "#!/bin/sh\necho waiting for it\nexec sleep 1000\n"


def deployed(stage: Stage, *commands: str, **settings: object) -> dict[int, Ran]:
    """Deploy generation 1 without tests, then add some to the app file; return the instances."""
    stage.machine.run(["install", "-d", "-m", "777", SAID])
    wanted: dict[str, object] = {"routing": "steered", "user": "www-data", **settings}
    stage.deploy("v1", **wanted)
    before = stage.invocations()
    stage.configure(gate={"smoke": [[command] for command in commands], "smoke_timeout": "2s"})
    return before


def release(stage: Stage, version: str, **files: str) -> str:
    made = stage.release(version, files={f"bin/{name}": text for name, text in files.items()})
    stage.machine.run(["chmod", "777", made])
    return made


def runs(stage: Stage) -> list[str]:
    path = stage.machine.path(f"{SAID}/runs")
    return path.read_text().splitlines() if path.exists() else []


def nothing_left(stage: Stage) -> None:
    units = ["systemctl", "list-units", "--all", "--plain", "--no-legend", f"{APP}:smoke*", f"{APP}:preview*"]
    assert stage.machine.run(units).stdout == ""


def test_a_good_release_is_tested_before_clients_reach_it(stage: Stage) -> None:
    deployed(stage, "bin/ask", "bin/wait")
    wait = "#!/bin/sh\nwhile [ ! -e /srv/demo/said/go ]; do sleep 0.1; done\n"
    stage.configure(gate={"smoke": [["bin/ask"], ["bin/wait"]]})
    with stage.load(rate=200, keepalive=2) as load:
        with stage.begin("rollout", "--release", release(stage, "v2", ask=ASK, wait=wait)) as begun:
            begun.until("smoke", state="started", command="bin/wait")
            load.mark("tested")
            time.sleep(1)
            load.mark("good")
            stage.machine.write(f"{SAID}/go", "")
            ended = begun.end()
        record = unharmed(load.stop())
    assert ended.result == "succeeded", ended
    between = record.between("tested", "good").generations()
    assert set(between) == {1}
    assert sum(between.values()) > 100
    assert runs(stage) == ["www-data 2"]
    states = [(event["command"], event["state"]) for event in ended.events if event["event"] == "smoke"]
    assert states == [(f"bin/{name}", state) for name in ("ask", "wait") for state in ("started", "succeeded")]
    assert generations(stage) == {2}
    assert "paused" not in {event["event"] for event in ended.events}
    nothing_left(stage)
    # The same release starts no new process, and a rollback leads to what was good before: nothing is tested.
    stage.machine.path(f"{SAID}/runs").unlink()
    assert stage.change("scale", "3").result == "succeeded"
    assert stage.change("rollback").result == "succeeded"
    assert runs(stage) == []


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("name", "text", "how", "line"),
    [
        ("no", NO, "exited with status 3", "GET /login answered 500"),
        ("hang", HANG, "did not end within 2 s", "waiting for it"),
    ],
)
def test_a_bad_release_is_rolled_back(stage: Stage, name: str, text: str, how: str, line: str) -> None:
    before = deployed(stage, f"bin/{name}")
    with stage.load(rate=200, keepalive=2) as load:
        ended = stage.rollout(release(stage, "v2", **{name: text}))
        record = unharmed(load.stop())
    assert (ended.status, ended.result) == (1, "rolled-back"), ended
    assert how in ended.reason
    failure = ended.finished["failure"]
    assert (failure["gate"], failure["journal"]) == ("smoke", [line])
    assert set(record.generations()) == {1}
    assert stage.invocations() == before
    nothing_left(stage)


@pytest.mark.thorough
def test_a_preview_is_tested_before_anybody_looks_and_the_daemon_may_die(stage: Stage) -> None:
    before = deployed(stage, "bin/ask")
    slow = ASK.replace("set -e", "set -e\nsleep 1")
    with stage.begin("rollout", "--release", release(stage, "v2", ask=slow), "--preview") as begun:
        begun.until("smoke", state="started")
        stage.machine.run(["systemctl", "kill", "--signal=KILL", DAEMON])
        begun.until("paused")
    assert set(runs(stage)) == {"www-data 2"}
    assert stage.json("preview", APP)["preview"]["generation"] == 2
    assert stage.change("abort", "--wait").result == "aborted"
    assert stage.invocations() == before
    nothing_left(stage)


@pytest.mark.thorough
def test_with_a_shared_socket_tests_reach_the_instance_at_its_socket_for_probes(stage: Stage) -> None:
    """The demo application serves that, too."""
    deployed(stage, "bin/ask", routing="shared", gate={"probe": {"http": "/"}})
    stage.configure(gate={"smoke": [["bin/ask"]], "probe": {"http": "/"}})
    ended = stage.rollout(release(stage, "v2", ask=ASK))
    assert ended.result == "succeeded", ended
    assert runs(stage) == ["www-data 2"]
    nothing_left(stage)


@pytest.mark.thorough
def test_with_a_shared_socket_tests_still_hold_back_the_rest(stage: Stage) -> None:
    before = deployed(stage, "bin/no", routing="shared")
    ended = stage.rollout(release(stage, "v2", no=NO))
    assert (ended.result, ended.finished["failure"]["gate"]) == ("rolled-back", "smoke")
    assert len({number for number, generation in ended.instances("starting") if generation == 2}) == 1
    assert stage.invocations() == before
