"""Lines of hand-written units, for N instances: directories, commands, and programs that a wrapper starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.host.stage import APP, INSTANCES, Stage

SOCKET = f"/run/{APP}/{APP}.sock"

WRAPPER = """\
#!/bin/sh
sh -c 'LISTEN_PID=$$ exec /usr/bin/python3 app.py'
exit $?
"""


def served(stage: Stage) -> bool:
    with stage.machine.connect(SOCKET) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {APP}\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).startswith(b"HTTP/1.1 200")


def test_directories_and_commands_of_one_service_work_for_n(stage: Stage) -> None:
    stage.deploy(
        "v1",
        listen=[SOCKET],
        user="www-data",
        service={
            "RuntimeDirectory": f"{APP} {APP}-%i",
            "ExecStop": "/bin/kill -s TERM $MAINPID",
            "ExecReload": "/bin/kill -s CONT $MAINPID",
        },
    )
    assert served(stage)
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    assert served(stage)
    for number, ran in stage.invocations().items():
        assert Path(stage.machine.path(f"/run/{APP}-{number}")).is_dir()
        stage.machine.run(["systemctl", "reload", f"{APP}@{number}.service"])
        assert stage.pid(number) == ran.pid
    first, *_, last = sorted(stage.invocations())
    stage.kill(first)
    stage.machine.run(["systemctl", "stop", f"{APP}@{last}.service"])
    assert stage.show(f"{APP}@{last}.service", "Result") == {"Result": "success"}
    assert served(stage)


@pytest.mark.thorough
def test_the_server_of_a_wrapper_finishes_its_requests(stage: Stage) -> None:
    """sh dies of the signal; the server gets it, too, and is not killed."""

    def release(version: str) -> str:
        return stage.release(version, handler_ms=200, files={"bin/start": WRAPPER})

    stage.configure(release=release("v1"), exec=["bin/start"], service={"NotifyAccess": "all"})
    assert stage.change("apply").result == "succeeded"
    with stage.load(rate=60) as load:
        assert stage.rollout(release("v2")).result == "succeeded"
        record = load.stop()
    assert not record.failed, record.by_outcome()
    assert {ran.generation for ran in stage.invocations().values()} == {2}
    assert len(stage.invocations()) == INSTANCES


@pytest.mark.thorough
def test_drop_ins_of_a_hand_written_unit(stage: Stage) -> None:
    """What breaks the app is refused by check, apply and rollout; what does not is honoured."""
    units = "/etc/systemd/system"
    stage.machine.write(f"{units}/{APP}@.service.d/limits.conf", "[Service]\nMemoryMax=1G\n")
    stage.deploy("v1", instances=1)
    assert stage.show(f"{APP}@1.service", "MemoryMax") == {"MemoryMax": str(1 << 30)}
    before = stage.invocations()
    override = f"{units}/{APP}.service.d/override.conf"
    stage.machine.write(override, "[Service]\nExecStart=\nExecStart=/bin/sleep infinity\n")
    for command in (["check", APP], ["apply", APP], ["rollout", APP, "--release", stage.release("v2")]):
        done = stage.deployd(*command)
        assert done.returncode == 3, (command, done)
        assert f"{override} sets ExecStart=: this unit runs no program" in done.stderr, done
    assert stage.invocations() == before
    stage.machine.run(["rm", override])
    assert stage.deployd("check", APP).returncode == 0
    stage.configure(service={"ExecStartPre": "/nonexistent/migrate"})
    done = stage.deployd("check", APP)
    assert done.returncode == 3
    assert "Command /nonexistent/migrate is not executable" in done.stderr
