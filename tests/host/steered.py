"""Shared by tests of steered apps: which instances serve, their shares, and the objects in the kernel."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections import Counter
from collections.abc import Iterable

from deployd.reuseport import syscalls
from tests.host.stage import APP, Stage
from tests.load.record import Kind, Record

DAEMON = "deployd.service"
PROGRAM_BY_ID, MAP_BY_ID = 13, 14
"""Commands of bpf(2)."""

FIRST_ONLY = {"min_ready": "1h"}
"""The gate of a rollout that stays at its first new instance: a pause may come too late, a hold asks for a share."""

BLOCKING = """\
#!/usr/bin/python3
import os, select, signal, socket, sys, time

def end(*_):
    sys.exit()

busy = {signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, busy)
signal.signal(signal.SIGTERM, end)
listener = socket.socket(fileno=3)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    address = os.environ["NOTIFY_SOCKET"]
    notify.sendto(b"READY=1", "\\0" + address[1:] if address[0] == "@" else address)
ready = select.poll()
ready.register(listener, select.POLLIN)
generation, instance = (int(os.environ["DEPLOYD_" + name]) for name in ("GENERATION", "INSTANCE"))
body = b'{"generation": %d, "instance": %d}' % (generation, instance)
head = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n" % len(body)
while True:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, busy)
    ready.poll()
    signal.pthread_sigmask(signal.SIG_BLOCK, busy)
    try:
        connection, _ = listener.accept()
    except OSError:
        continue
    with connection:
        connection.setblocking(True)
        connection.recv(65536)
        time.sleep(float(open("seconds").read()))
        connection.sendall(head + body)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
"""
"""An application that serves one client at a time, so that others wait in the kernel's queue. The file `seconds` has
the time for each."""


def asked(stage: Stage) -> Counter[int]:
    """Map generations to their rounded percentages of new connections in the status."""
    found: Counter[int] = Counter()
    for item in stage.status()["instances"]:
        found[item["generation"]] += item["weight"] or 0
    return Counter({number: round(share) for number, share in found.items()})


def generations(stage: Stage, requests: int = 40, port: int = 8080) -> set[int]:
    """Count the responses by generation, each on a new connection."""
    return {int(stage.get(port=port)["generation"]) for _ in range(requests)}


def fresh(record: Record) -> Record:
    """Return the requests on new connections, for which the kernel chose an instance."""
    return record.of_kind(Kind.FRESH)


def unharmed(record: Record) -> Record:
    assert len(record) > 20, record.summary()
    assert not record.failed, (record.by_outcome(), record.failed[:5])
    return record


def kernel_ids(stage: Stage) -> tuple[set[int], set[int]]:
    """Return the IDs of the BPF maps and programs that the daemon has open."""
    pid = stage.show(DAEMON, "MainPID")["MainPID"]
    maps, programs = set(), set()
    for file in stage.machine.path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            text = file.read_text()
        except OSError:
            continue  # closed meanwhile
        maps |= {int(found) for found in re.findall(r"(?m)^map_id:\s*(\d+)", text)}
        programs |= {int(found) for found in re.findall(r"(?m)^prog_id:\s*(\d+)", text)}
    return maps, programs


def kept(stage: Stage) -> int:
    """Return the number of descriptors that systemd stores for the daemon."""
    return int(stage.show(DAEMON, "NFileDescriptorStore")["NFileDescriptorStore"])


def living(command: int, ids: Iterable[int]) -> set[int]:
    """Return those of the IDs that still exist in the kernel, by `MAP_BY_ID` or `PROGRAM_BY_ID`."""
    return {number for number in ids if _lives(command, number)}


def _lives(command: int, number: int) -> bool:
    try:
        os.close(syscalls.bpf(command, _ById(number)))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


class _ById(ctypes.Structure):
    _fields_ = (
        ("id", ctypes.c_uint32),
        ("next", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("more", ctypes.c_uint32),
    )


def sockets(stage: Stage) -> set[int]:
    """Return the instances whose sockets are open."""
    command = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active", f"{APP}@*.socket"]
    units = [line.split()[0] for line in stage.machine.run(command).stdout.splitlines()]
    return {int(unit.removeprefix(f"{APP}@").removesuffix(".socket")) for unit in units}
