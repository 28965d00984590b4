"""The default restrictions of instances: their rating by systemd, and that applications tolerate them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.host.root import CHECKOUT
from tests.host.stage import APP, Stage

EXAMPLE = CHECKOUT / "packaging/examples/hardened.toml"

SERVE = """\
#!/usr/bin/python3
import os, select, socket
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
listener = socket.socket(fileno=3)  # non-blocking for all instances, whose descriptors are duplicates
with open(os.environ["STATE_DIRECTORY"] + "/visits", "a") as visits:
    while True:
        select.select([listener], [], [])
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue  # another instance was faster
        connection.recv(65536)
        print("visit", file=visits, flush=True)
        body = os.environ["DEPLOYD_GENERATION"].encode()
        head = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n"
        connection.sendall(head % len(body) + body)
        connection.close()
"""


def exposure(stage: Stage, unit: str) -> float:
    """Return the score of `systemd-analyze security`, from 0.0 (restricted) to 10.0 (unrestricted)."""
    said = stage.machine.run(["systemd-analyze", "security", "--no-pager", unit], check=False).stdout
    (score,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", said)
    print(said)
    return float(score)


@pytest.mark.thorough
@pytest.mark.parametrize("routing", ["shared", "steered"])
def test_the_default_with_a_user(stage: Stage, routing: str) -> None:
    stage.deploy("v1", user="www-data", routing=routing)
    assert exposure(stage, f"{APP}@1.service") <= 5.0
    assert stage.rollout(stage.release("v2")).result == "succeeded"


def test_the_hardened_example(stage: Stage) -> None:
    """It serves, is rolled out and rolled back, and keeps its state."""
    machine = stage.machine
    machine.run(["useradd", "--system", "--no-create-home", "hardened"])
    try:
        machine.write("/etc/deployd/apps/hardened.toml", EXAMPLE.read_text())
        for version in ("1", "2"):
            machine.write(f"/srv/hardened/{version}/app.py", SERVE)
        machine.path("/srv/hardened/current").symlink_to("/srv/hardened/1")
        applied = stage.deployd("apply", "hardened")
        assert applied.returncode == 0, applied.stderr
        assert ask(stage) == "1"
        assert exposure(stage, "hardened@1.service") < 2.0
        rolled = stage.deployd("rollout", "hardened", "--release", "/srv/hardened/2")
        assert rolled.returncode == 0, rolled.stderr
        assert ask(stage) == "2"
        assert stage.deployd("rollback", "hardened").returncode == 0
        assert ask(stage) == "3"
        assert machine.read("/var/lib/hardened/visits") == "visit\n" * 3
    finally:
        stage.deployd("remove", "hardened")
        machine.run(["userdel", "hardened"])
        machine.run(["rm", "-rf", "/srv/hardened", "/var/lib/hardened", "/etc/deployd/apps/hardened.toml"])


def ask(stage: Stage) -> str:
    """Return the generation that answers."""
    with stage.machine.connect(("127.0.0.1", 8080)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: hardened\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return answer.partition(b"\r\n\r\n")[2].decode()


@pytest.mark.thorough
@pytest.mark.parametrize("place", ["/tmp/releases", "/home/app", "/run/releases", "/opt/app", "/usr/local/app"])
def test_releases_may_be_anywhere(stage: Stage, place: str) -> None:
    """And instances may listen on a UNIX socket in /run that clients can reach."""
    machine = stage.machine
    Path(machine.path(place)).mkdir(parents=True, exist_ok=True)
    machine.run(["cp", "-a", stage.release("v1"), f"{place}/v1"])
    try:
        stage.configure(release=f"{place}/v1", user="www-data", listen=["127.0.0.1:8080", "/run/demo/http.sock"])
        assert stage.change("apply").result == "succeeded"
        assert stage.get()["version"] == "v1"
        with machine.connect("/run/demo/http.sock") as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    finally:
        stage.deployd("remove", APP)
        machine.run(["rm", "-rf", place])


PRIVILEGES = "#!/bin/sh\ngrep -E '^(NoNewPrivs|CapBnd)' /proc/self/status > /var/tmp/privileges\n"


@pytest.mark.thorough
@pytest.mark.parametrize(("service", "none"), [({}, "1"), ({"NoNewPrivileges": False}, "0")])
def test_an_app_can_have_new_privileges(stage: Stage, service: dict[str, object], none: str) -> None:
    """Settings that imply NoNewPrivileges= are then absent as well."""
    stage.configure(
        release=stage.release("v1", files={"bin/privileges": PRIVILEGES}),
        exec=["/bin/sh", "-c", "./bin/privileges; exec /usr/bin/python3 app.py"],
        instances=1,
        user="www-data",
        service=service,
    )
    assert stage.change("apply").result == "succeeded"
    fields = dict(line.split(":\t") for line in stage.machine.read("/var/tmp/privileges").splitlines())
    stage.machine.run(["rm", "/var/tmp/privileges"])
    assert fields["NoNewPrivs"] == none
    assert (int(fields["CapBnd"], 16) == 0) is (none == "1")
