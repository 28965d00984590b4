"""Descriptors go with the calls that have them, and none is accepted from others."""

from __future__ import annotations

import gc
import os
import socket
from pathlib import Path
from typing import Any

from deployd.bus import Bus, MethodCall, Reply
from deployd.bus.transport import _Patient
from tests.bus.private_bus import connections, run
from tests.cli.fake_daemon import private_bus


def test_a_full_socket_delays_descriptors_and_does_not_lose_them() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        patient = _Patient(ours)
        sent = 0
        while step := patient.send(memoryview(bytes(1 << 16))):
            sent += step
        read, write = os.pipe()
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, read.to_bytes(4, "little"))]
        assert patient.sendmsg([memoryview(b"message")], ancillary) == 0
        received = 0
        while received < sent:
            received += len(theirs.recv(1 << 20))
        assert patient.send(memoryview(b"message")) == 7
        data, descriptors, _, _ = socket.recv_fds(theirs, 100, 5)
        assert (data, len(descriptors)) == (b"message", 1)
        for descriptor in (read, write, *descriptors):
            os.close(descriptor)


def test_descriptors_that_others_send_are_dropped(tmp_path: Path) -> None:
    async def work(address: str) -> None:
        async with connections(address, 2) as (server, client):

            async def serve(call: MethodCall) -> Reply:
                return "s", [str(call.body)]

            server.serve(serve)
            opened = _opened()
            read, write = os.pipe()
            answer: list[Any] = await client.call(
                server.name, "/x", "org.example.X", "Take", "h", [0], descriptors=[read]
            )
            os.close(read)
            os.close(write)
            assert answer == ["[0]"]
            assert await Bus.call(client, server.name, "/x", "org.example.X", "Next") == ["[]"]
            assert _opened() == opened

    with private_bus(tmp_path) as address:
        run(work(address))


def _opened() -> int:
    gc.collect()  # earlier tests may have left descriptors to the garbage collector
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - without a descriptor of its own for longer than needed
