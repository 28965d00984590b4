"""Access to the private sockets of instances."""

from __future__ import annotations

import json

from tests.host.stage import APP, DEADLINE, Json, Stage

HTTP = {"http": "/_status"}


def path(instance: int) -> str:
    return f"/run/deployd/probe/{APP}/{instance}.sock"


def socket_unit(instance: int) -> str:
    return f"{APP}:probe@{instance}.socket"


def ask(stage: Stage, instance: int, target: str = "/_status") -> Json:
    """Return the response of the application on the private socket of an instance, whatever its status."""
    with stage.machine.connect(path(instance), DEADLINE) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {APP}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    fields: Json = json.loads(answer.partition(b"\r\n\r\n")[2])
    return fields


def is_open(stage: Stage, instance: int) -> bool:
    return stage.show(socket_unit(instance), "ActiveState")["ActiveState"] == "active"
