"""A preview: one new instance that no client reaches, and that is promoted or taken away."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.host.stage import APP, DEADLINE, Json, Stage
from tests.host.steered import DAEMON, generations, unharmed
from tests.rollout.test_process_types_host import TYPE, WORKER, of_type
from tests.routing.test_port_mode_host import EXEC, FILES, RUNS

SOCKET = f"/run/deployd/preview/{APP}.sock"
WORKERS = {"worker.py": WORKER, "worker-mode": "good"}
COULD_NOT_CONNECT = 7
"""An exit status of curl(1)."""
BURST = 90
GAMES = "games"
"""A group with a member of the same name."""


def curl(stage: Stage, user: str | None = None) -> subprocess.CompletedProcess[str]:
    command = ["curl", "-sS", "--max-time", "30", "--unix-socket", SOCKET, f"http://{APP}/"]
    return stage.machine.run(command, check=False, user=user)


def seen(stage: Stage, user: str | None = None) -> Json:
    """Return what the preview answers."""
    done = curl(stage, user)
    assert done.returncode == 0, (done.stderr, stage.machine.run(["journalctl", "-n", "30", "--no-pager"]).stdout)
    answer: Json = json.loads(done.stdout)
    return answer


def begin(stage: Stage, release: str) -> Json:
    """Roll out a release up to its preview; return its first instance."""
    with stage.begin("rollout", "--release", release, "--preview") as begun:
        paused = begun.until("paused")
    assert "deployd preview demo" in paused["how"]
    assert SOCKET in paused["reason"]
    return next(item for item in stage.status()["instances"] if item["generation"] == paused["to"])


def test_a_preview_gets_no_client_and_is_promoted_without_a_restart(stage: Stage) -> None:
    stage.deploy("v1", routing="steered", user="www-data")
    with stage.load(rate=200, keepalive=2) as load:
        new = begin(stage, stage.release("v2"))
        load.mark("preview")
        assert seen(stage)["generation"] == 2
        assert seen(stage)["instance"] == new["instance"]
        shown = stage.json("preview", APP)["preview"]
        assert (shown["generation"], shown["instance"], shown["socket"]) == (2, new["instance"], SOCKET)
        assert f"curl --unix-socket {SOCKET} http://{APP}/" in stage.deployd("preview", APP).stdout
        assert stage.deployd("weight", APP, "2", "10%").returncode == 3
        stage.machine.run(["systemctl", "kill", "--signal=KILL", DAEMON])
        stage.machine.wait_for(lambda: stage.status()["rollout"]["preview"], what="the daemon to return")
        assert [seen(stage)["instance"] for _ in range(30)] == [new["instance"]] * 30
        for item in stage.status()["instances"]:
            if item["generation"] == 1:
                stage.kill(item["instance"])
                break
        time.sleep(1)
        load.mark("promoted")
        ended = stage.change("resume", "--wait")
        assert ended.result == "succeeded", ended
        record = load.stop()
    assert len(record.failed) <= 4, record.by_outcome()  # those of the instance that was killed
    before = record.between("preview", "promoted")
    assert set(before.generations()) == {1}, before.generations()
    assert sum(before.generations().values()) > 200
    assert generations(stage) == {2}
    after = next(item for item in stage.status()["instances"] if item["instance"] == new["instance"])
    assert after["invocation_id"] == new["invocation_id"]
    assert not stage.machine.path(SOCKET).exists()
    assert stage.deployd("preview", APP).returncode == 3


@pytest.mark.thorough
def test_a_preview_is_taken_away_by_abort(stage: Stage) -> None:
    stage.deploy("v1", routing="steered")
    before = stage.invocations()
    with stage.load(rate=200, keepalive=2) as load:
        begin(stage, stage.release("v2"))
        assert seen(stage)["generation"] == 2
        assert stage.change("abort", "--wait").result == "aborted"
        record = unharmed(load.stop())
    assert set(record.generations()) == {1}
    assert stage.invocations() == before
    assert not stage.machine.path(SOCKET).exists()
    units = stage.systemctl("list-units", "--all", "--plain", "--no-legend", f"{APP}:preview*").stdout
    assert units == ""
    assert "rolled back" not in stage.deployd("status", APP).stdout


def test_the_kernel_decides_who_may_look(stage: Stage) -> None:
    """Root, the user of the app, and the members of the group; others neither at the socket nor over D-Bus."""
    stage.deploy("v1", routing="steered", user="www-data", instances=2)
    stage.configure(rollout={"preview_group": GAMES})
    begin(stage, stage.release("v2"))
    show = stage.machine.run(["stat", "--format=%U %G %a", SOCKET]).stdout.strip()
    assert show == f"www-data {GAMES} 660"
    for user in (None, "www-data", GAMES):
        assert seen(stage, user)["generation"] == 2, user
    assert curl(stage, "nobody").returncode == COULD_NOT_CONNECT
    call = ["busctl", "call", "org.deployd1", f"/org/deployd1/app/{APP}", "org.deployd1.App", "ConnectPreview"]
    refused = stage.machine.run([*call, "a{sv}", "1", "ipv4", "u", "0"], check=False, user="nobody")
    assert f"is open to those who may connect to {SOCKET}" in refused.stderr, refused.stderr
    asked = stage.machine.run([*call, "a{sv}", "1", "ipv4", "u", "0"], check=False)
    assert "the descriptor of the caller" in asked.stderr, asked.stderr
    relay = stage.show(f"{APP}:preview.service", "MainPID")["MainPID"]
    owner = stage.machine.path(f"/proc/{relay}/status").read_text()
    assert "CapBnd:\t0000000000000000" in owner
    assert stage.json("preview", APP)["preview"]["socket"] == SOCKET
    assert stage.change("abort", "--wait").result == "aborted"


@pytest.mark.thorough
def test_many_connections_wait_for_their_turn(stage: Stage) -> None:
    """deployd answers a limited number of calls of a user, but refuses none of the relay's."""
    stage.deploy("v1", routing="steered", user="www-data", instances=2)
    begin(stage, stage.release("v2"))
    with ThreadPoolExecutor(30) as pool:
        done = list(pool.map(lambda _: curl(stage), range(BURST)))
    assert [one.returncode for one in done] == [0] * BURST, Counter(one.stderr for one in done)
    assert {json.loads(one.stdout)["generation"] for one in done} == {2}
    assert stage.change("abort", "--wait").result == "aborted"


@pytest.mark.thorough
def test_a_preview_of_a_program_behind_its_proxy(stage: Stage) -> None:
    first = stage.release("v1", files=FILES)
    stage.configure(release=first, exec=RUNS, mode="port", routing="steered", gate=EXEC, instances=2)
    assert stage.change("apply").result == "succeeded"
    with stage.load(rate=100, keepalive=2) as load:
        new = begin(stage, stage.release("v2", files=FILES))
        load.mark("preview")
        assert [seen(stage)["generation"] for _ in range(10)] == [2] * 10
        time.sleep(1)
        load.mark("promoted")
        assert stage.change("resume", "--wait").result == "succeeded"
        record = unharmed(load.stop())
    assert set(record.between("preview", "promoted").generations()) == {1}
    after = next(item for item in stage.status()["instances"] if item["instance"] == new["instance"])
    assert after["invocation_id"] == new["invocation_id"]


@pytest.mark.thorough
def test_a_preview_that_keeps_crashing_fails_the_rollout(stage: Stage) -> None:
    stage.deploy("v1", routing="steered", instances=2)
    with stage.begin("rollout", "--release", stage.release("v2"), "--preview") as begun:
        paused = begun.until("paused")
        new = next(item for item in stage.status()["instances"] if item["generation"] == paused["to"])
        for _ in range(4):
            stage.machine.wait_for(lambda: stage.pid(new["instance"]), what="the preview to run")
            stage.kill(new["instance"])
            stage.machine.wait_for(lambda: not stage.pid(new["instance"]), what="its process to end")
        ended = begun.end()
    assert ended.result == "rolled-back", ended
    assert "keeps crashing" in ended.reason
    assert not stage.machine.path(SOCKET).exists()


@pytest.mark.thorough
def test_what_cannot_be_previewed_is_refused(stage: Stage) -> None:
    stage.deploy("v1", routing="shared", instances=1)
    refused = stage.deployd("rollout", APP, "--preview")
    assert (refused.returncode, 'set routing = "steered"' in refused.stderr) == (3, True), refused.stderr
    stage.configure(routing="steered")
    assert stage.change("apply").result == "succeeded"
    begin(stage, stage.release("v2"))
    assert stage.change("abort", "--wait").result == "aborted"


@pytest.mark.thorough
def test_a_preview_is_there_again_after_a_reboot(own_stage: Stage) -> None:
    stage = own_stage
    stage.deploy("v1", routing="steered", instances=2)
    new = begin(stage, stage.release("v2"))
    stage.close()
    stage.machine.reboot(clean=False)
    stage.machine.wait_for(lambda: stage.machine.path(SOCKET).exists(), timeout=DEADLINE, what="the address")
    stage.machine.wait_for(lambda: _is_ready(stage, new["instance"]), timeout=DEADLINE, what="the preview to run")
    assert seen(stage)["instance"] == new["instance"]
    assert generations(stage) == {1}
    assert stage.change("resume", "--wait").result == "succeeded"
    assert generations(stage) == {2}


def _is_ready(stage: Stage, number: int) -> bool:
    rows = stage.status()["instances"]
    return all(row["ready"] for row in rows) and any(row["instance"] == number for row in rows)


@pytest.mark.thorough
def test_an_app_at_a_unix_address_is_previewed_at_the_socket_for_probes(stage: Stage) -> None:
    address = "/run/demo/http.sock"
    stage.machine.run(["rm", "-rf", "/run/demo"])
    stage.deploy("v1", routing="steered", listen=[address], instances=2, gate={"probe": {"http": "/"}})
    with stage.load(100, 2, "--unix", address) as load:
        new = begin(stage, stage.release("v2"))
        load.mark("preview")
        assert [seen(stage)["instance"] for _ in range(5)] == [new["instance"]] * 5
        time.sleep(1)
        load.mark("promoted")
        assert stage.change("resume", "--wait").result == "succeeded"
        record = unharmed(load.stop())
    assert set(record.between("preview", "promoted").generations()) == {1}
    after = next(item for item in stage.status()["instances"] if item["instance"] == new["instance"])
    assert after["invocation_id"] == new["invocation_id"]


@pytest.mark.thorough
def test_process_types_wait_for_a_preview_and_have_smoke_tests_of_their_own(stage: Stage) -> None:
    test = {"bin/test": '#!/bin/sh\necho "tested $DEPLOYD_INSTANCE ${DEPLOYD_PREVIEW-nowhere}"\n'}
    types = {"worker": {**TYPE, "gate": {"smoke": [["bin/test"]]}}}
    old = stage.release("v1", files={**WORKERS, **test})
    stage.configure(release=old, instances=2, routing="steered", process=types)
    assert stage.change("apply").result == "succeeded"
    before = of_type(stage)
    begin(stage, stage.release("v2", files={**WORKERS, **test}))
    assert seen(stage)["generation"] == 2
    assert of_type(stage) == before
    assert stage.change("resume", "--wait").result == "succeeded"
    assert {generation for generation, _ in of_type(stage).values()} == {2}
    assert generations(stage) == {2}
    journal = ["journalctl", f"--unit={APP}.worker:smoke", "--output=cat"]
    said = [line for line in stage.machine.run(journal).stdout.splitlines() if line.startswith("tested")]
    assert said == ["tested 1 nowhere", "tested 3 nowhere"]


@pytest.mark.thorough
def test_process_types_with_smoke_tests_and_no_order_do_not_wait_for_each_other(stage: Stage) -> None:
    test = {"bin/test": "#!/bin/sh\n"}
    smoke = {"smoke": [["bin/test"]]}
    types = {"worker": {**TYPE, "after": [], "gate": smoke}}
    old = stage.release("v1", files={**WORKERS, **test})
    stage.configure(release=old, instances=2, routing="steered", process=types, gate=smoke)
    assert stage.change("apply").result == "succeeded"
    ended = stage.rollout(stage.release("v2", files={**WORKERS, **test}))
    assert ended.result == "succeeded", ended
    assert {event.get("process", "web") for event in ended.events if event["event"] == "smoke"} == {"web", "worker"}
