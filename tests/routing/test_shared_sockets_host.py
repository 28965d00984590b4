"""The sockets of an app on shared sockets are closed under it: by a neighbour's command, or by another process."""

from __future__ import annotations

import subprocess

import pytest

from tests.host.stage import APP, APP_FILE, DEADLINE, PORT, Json, Stage

ADDRESS = f"127.0.0.1:{PORT}"
DAEMON = "deployd.service"
UMBRELLA, SOCKET, HEALTH = f"{APP}.service", f"{APP}.socket", f"{APP}:health.service"


def address(stage: Stage) -> Json:
    [found] = stage.status()["addresses"]
    return dict(found)


def is_up(stage: Stage, count: int) -> bool:
    status = stage.status()
    return bool(address(stage)["open"]) and (status["ready"], status["health"]) == (count, "ok")


def test_a_socket_that_is_stopped_is_opened_again_and_no_request_fails(stage: Stage) -> None:
    stage.deploy("v1", instances=2)
    before = stage.invocations()

    def replaced() -> bool:
        now = stage.invocations()
        return len(now) == 2 and not set(now.values()) & set(before.values()) and is_up(stage, 2)

    with stage.load(rate=100, keepalive=2) as load:
        stage.machine.run(["systemctl", "stop", f"{APP[:-1]}*.socket"])  # a pattern meant for an app of another name
        stage.machine.wait_for(replaced, what="the socket and instances that have it")
        seen = load.progress()["requests"]
        stage.machine.wait_for(lambda: load.progress()["requests"] > seen + 100, what="requests")
        record = load.stop()
    assert not record.failed, record.by_outcome()
    assert stage.show(UMBRELLA, "ActiveState")["ActiveState"] == "active"
    assert stage.show(SOCKET, "ActiveState", "ReusePort") == {"ActiveState": "active", "ReusePort": "no"}

    stage.configure(release=stage.release("v2", barrier=True))
    with stage.machine.popen(["systemctl", "reload", UMBRELLA], stderr=subprocess.PIPE) as reload:
        stage.machine.wait_unit(f"{APP}@3.service", "activating")
        stage.machine.run(["systemctl", "stop", SOCKET])
        stage.machine.wait_unit(SOCKET)
        _, said = reload.communicate(timeout=DEADLINE)
    assert "canceled" in said, said
    stage.admit()
    stage.machine.wait_for(lambda: stage.history()[0]["result"] == "succeeded", what="the end of the rollout")


@pytest.mark.thorough
def test_a_daemon_that_was_killed_while_it_opened_a_socket_leaves_no_stopped_app(stage: Stage) -> None:
    stage.deploy("v1", instances=2)
    before = stage.invocations()
    stage.machine.run(["systemctl", "stop", DAEMON])
    stage.machine.run(["systemctl", "--job-mode=ignore-dependencies", "stop", UMBRELLA])
    stage.machine.run(["systemctl", "start", DAEMON])
    stage.machine.wait_unit(UMBRELLA)
    assert stage.invocations() == before


@pytest.mark.thorough
def test_an_address_that_another_process_has_is_opened_when_it_is_free(stage: Stage) -> None:
    stage.deploy("v1", instances=2, rollout={"watch": "1h"})
    stage.machine.run(["systemctl", "stop", UMBRELLA, SOCKET])
    argv = ["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", str(PORT)]
    environment = {"PYTHONUNBUFFERED": "1"}
    with stage.machine.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as other:
        assert other.stdout is not None
        assert other.stdout.readline()
        assert address(stage) == {
            "address": ADDRESS,
            "unit": SOCKET,
            "open": False,
            "reason": "the app is stopped",
        }
        assert stage.deployd("status", APP, "--exit-code").returncode == 2
        stage.machine.run(["systemctl", "start", "--no-block", UMBRELLA])
        stage.machine.wait_for(lambda: "is used by python3" in address(stage)["reason"], what="the reason")
        assert (stage.status()["ready"], stage.status()["health"]) == (0, "down")
        stage.machine.wait_unit(HEALTH, "failed", timeout=60)
        failed = stage.machine.run(["systemctl", "--failed", "--plain", "--full", "--no-legend"]).stdout
        assert f"{APP}: {ADDRESS} is closed: {SOCKET} could not listen" in failed
        assert stage.deployd("status", APP, "--exit-code").returncode == 2
        assert stage.deployd("status", "--exit-code").returncode == 2
        refused = stage.deployd("rollout", APP, "--release", stage.release("v2"))
        assert refused.returncode == 3, refused
        assert f"{SOCKET} could not listen: {ADDRESS} is used by python3" in refused.stderr
        other.kill()
    stage.machine.wait_for(lambda: is_up(stage, 2), what="the app", timeout=90)
    assert stage.get()["version"] == "v1"
    assert [item["crashes"] > 0 for item in stage.status()["instances"]] == [True, True]
    assert stage.status()["watch"]["crashes"] == 0, "the release is not to blame"
    stage.machine.wait_unit(HEALTH, "inactive", timeout=60)
    assert stage.deployd("status", "--exit-code").returncode == 0
    assert stage.rollout(stage.release("v2")).result == "succeeded"


@pytest.mark.thorough
def test_an_address_may_come_after_the_socket(stage: Stage) -> None:
    away = {"open": True, "reason": "no interface of this machine has the address"}
    ended = stage.deploy("v1", listen=["192.0.2.7:8080"], instances=1)
    assert away.items() <= address(stage).items()
    [event] = [event for event in ended.events if event["event"] == "address"]
    assert away.items() <= event.items()
    checked = stage.deployd("check", APP)
    assert (checked.returncode, checked.stderr) == (
        0,
        f'{APP}: warning: {APP_FILE}: listen: "192.0.2.7:8080" is on no interface of this machine now; the socket will'
        " be open, but clients reach it only once the address is there\n",
    )
    stage.machine.run(["ip", "address", "add", "192.0.2.7/32", "dev", "lo"])
    with stage.machine.connect(("192.0.2.7", 8080)) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"
    assert address(stage)["reason"] == ""
    assert stage.deployd("check", APP).stderr == ""
    stage.machine.run(["ip", "address", "delete", "192.0.2.7/32", "dev", "lo"])
