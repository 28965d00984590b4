"""All kinds of addresses together, and an app that does not run as root."""

from __future__ import annotations

import json
import socket

import pytest

from tests.host.stage import APP, Stage

SOCKET = "/run/demo/http.sock"


def answer(stage: Stage, address: tuple[str, int] | str) -> dict[str, object]:
    with stage.machine.connect(address) as connection:
        connection.sendall(b"GET /env HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
        whole = b"".join(iter(lambda: connection.recv(65536), b""))
    fields: dict[str, object] = json.loads(whole.partition(b"\r\n\r\n")[2])
    return fields


@pytest.mark.sampled
@pytest.mark.parametrize("surge", [1, 0], ids=["surge", "in-place"])
def test_every_kind_of_address_stays_open_through_a_rollout(stage: Stage, surge: int) -> None:
    addresses: list[tuple[str, int] | str] = [("127.0.0.1", 8080), ("::1", 8081), ("127.0.0.1", 8082), SOCKET]
    listen = ["127.0.0.1:8080", "[::1]:8081", "8082", SOCKET]
    stage.deploy("v1", listen=listen, user="www-data", rollout={"max_surge": surge})
    with stage.load(rate=100) as load:
        assert stage.rollout(stage.release("v2")).result == "succeeded"
        record = load.stop()
    assert not record.failed, record.by_outcome()
    for address in addresses:
        environment = answer(stage, address)["environment"]
        assert isinstance(environment, dict)
        assert environment["DEPLOYD_GENERATION"] == "2"
    for number in stage.invocations():
        status = stage.machine.read(f"/proc/{stage.pid(number)}/status")
        assert "\nUid:\t33\t" in status


@pytest.mark.thorough
def test_a_unix_socket_queues_while_the_app_is_stopped(stage: Stage) -> None:
    stage.deploy("v1", listen=[SOCKET])
    stage.machine.run(["systemctl", "stop", f"{APP}.service"])
    with stage.machine.connect(SOCKET) as connection:
        assert connection.family == socket.AF_UNIX
        connection.sendall(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
