"""Addresses of a steered app: each family has a group of its own in the kernel, and addresses may change."""

from __future__ import annotations

import pytest

from tests.host.stage import APP, PORT, Stage
from tests.host.steered import asked, generations, unharmed
from tests.load.client import Load

OTHER = 8081
OLD, NEW = f"127.0.0.1:{PORT}", f"127.0.0.1:{OTHER}"


def load(stage: Stage, host: str = "127.0.0.1", port: int = PORT, rate: float = 80) -> Load:
    return stage.load(rate, 2, "--host", host, "--port", str(port), "--timeout", "30")


def addresses(stage: Stage) -> set[str]:
    rows = stage.machine.run(["ss", "-Hltn"]).stdout.splitlines()
    return {row.split()[3] for row in rows if row.split()[3].rpartition(":")[2] in (str(PORT), str(OTHER))}


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("listen", "clients"),
    [
        ([f"[::1]:{PORT}"], [("::1", PORT)]),
        ([str(PORT)], [("::1", PORT), ("127.0.0.1", PORT)]),
        ([OLD, f"[::1]:{OTHER}"], [("127.0.0.1", PORT), ("::1", OTHER)]),
        ([f"0.0.0.0:{PORT}", f"[::1]:{PORT}"], [("127.0.0.1", PORT), ("::1", PORT)]),
    ],
    ids=["ipv6", "dual-stack", "two-ports", "two-families"],
)
def test_each_address_is_steered(stage: Stage, listen: list[str], clients: list[tuple[str, int]]) -> None:
    stage.deploy("v1", routing="steered", listen=listen)
    loads = [load(stage, host, port) for host, port in clients]
    with stage.begin("rollout", "--release", stage.release("v2"), "--canary", "1") as begun:
        begun.until("paused")
    for share, serving in (("0%", 1), ("100%", 2)):
        assert stage.deployd("weight", APP, "2", share).returncode == 0
        for client in clients:
            with stage.machine.connect(client) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
                assert f'"generation": {serving}'.encode() in b"".join(iter(lambda c=connection: c.recv(65536), b""))  # type: ignore[misc]
    assert stage.change("resume", "--wait").status == 0
    assert stage.change("rollback").result == "succeeded"
    for one in loads:
        unharmed(one.stop())
    assert asked(stage) == {3: 100}


@pytest.mark.thorough
def test_a_changed_address_opens_and_closes(stage: Stage) -> None:
    """The new address opens with the first new instance, the old one closes with the last old instance."""
    stage.deploy("v1", routing="steered", listen=[OLD])
    stage.configure(listen=[NEW], release=stage.release("v2", barrier=True))
    old = load(stage)
    with stage.begin("apply") as begun:
        stage.admit(begun.until("instance", state="starting")["instance"])
        begun.until("instance", state="ready")
        with load(stage, port=OTHER) as new:
            assert addresses(stage) == {OLD, NEW}
            stage.admit()
            ended = begun.end()
            assert ended.result == "succeeded", ended
            assert generations(stage, port=OTHER) == {2}
            unharmed(new.stop())
    assert addresses(stage) == {NEW}
    record = old.stop()
    refused = [request for request in record.requests if request.failed]
    assert {str(request.outcome) for request in refused} <= {"refused"}, record.by_outcome()
    first = min((request.start for request in refused), default=record.end)
    assert not [request for request in record.requests if not request.failed and request.sent > first + 0.5]


@pytest.mark.thorough
def test_an_address_is_added(stage: Stage) -> None:
    stage.deploy("v1", routing="steered", listen=[OLD])
    with load(stage) as old:
        stage.configure(listen=[OLD, NEW], release=stage.release("v2"))
        assert stage.change("apply").result == "succeeded"
        assert generations(stage, port=OTHER) == {2}
        with load(stage, port=OTHER) as new:
            stage.configure(release=stage.release("v3", mode="crash"))
            assert stage.change("apply").result == "rolled-back"
            assert stage.change("restart").result == "succeeded"
            unharmed(new.stop())
        stage.configure(listen=[OLD], release=stage.release("v4"))
        assert stage.change("apply").result == "succeeded"
        assert addresses(stage) == {OLD}
        unharmed(old.stop())


def test_an_address_that_is_taken_rolls_back(stage: Stage) -> None:
    stage.deploy("v1", routing="steered", listen=[OLD])
    taken = stage.machine.popen(
        ["/usr/bin/python3", "-c", f"import socket; s = socket.create_server(('127.0.0.1', {OTHER})); s.accept()"]
    )
    try:
        stage.machine.wait_for(lambda: NEW in addresses(stage), what="another's listener")
        with load(stage) as old:
            stage.configure(listen=[NEW], release=stage.release("v2"))
            ended = stage.change("apply")
            assert ended.result == "rolled-back", ended
            assert "could not listen" in ended.reason
            unharmed(old.stop())
        assert generations(stage) == {1}
    finally:
        taken.kill()
        taken.wait()
