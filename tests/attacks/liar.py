"""Sends forged signals of systemd and deployd to all connections of the bus, claiming that an app is well.

    python3 -m tests.attacks.liar SECONDS APP GENERATION [PACE]

With PACE, seconds between two rounds, it also claims that instances have failed or ended, and reconnects when the bus
is restarted. Uses the standard library only, because it runs on the test host as an ordinary user.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import struct
import sys
import time
from collections.abc import Iterator

from tests.attacks.raw import DBUS, Raw, call, properties, signal, strings

SYSTEMD, SYSTEMD_PATH = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
DEPLOYD, DEPLOYD_PATH = "org.deployd1", "/org/deployd1"
CHANGED = ("org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as")
INSTANCES = range(1, 10)
WELL, ILL = (("active", "running"),), (("failed", "failed"), ("inactive", "dead"))
"""ActiveState and SubState."""
LIE = 4_047_114_711
"""The generation that is said to be live, with so many digits that no process ID, time or invocation ID has them."""
AWAY = 0.2
"""Seconds between attempts to reconnect to the bus."""


def of_units(to: str, app: str, states: tuple[tuple[str, str], ...] = WELL) -> Iterator[bytes]:
    """Claim that all instances are running, or in these states in turn, with other main processes."""
    for number, (state, sub) in zip(INSTANCES, itertools.cycle(states), strict=False):
        path = f"{SYSTEMD_PATH}/unit/{app}_40{number}_2eservice"
        unit: dict[str, str | int] = {"ActiveState": state, "SubState": sub, "LoadState": "loaded"}
        yield signal(to, path, *CHANGED, properties(f"{SYSTEMD}.Unit", unit))
        service: dict[str, str | int] = {"MainPID": 1, "NRestarts": 0, "Result": "success"}
        yield signal(to, path, *CHANGED, properties(f"{SYSTEMD}.Service", service))
        yield signal(to, path, *CHANGED, properties(f"{SYSTEMD}.Socket", {"SubState": "running"}))
    yield signal(
        to, f"{SYSTEMD_PATH}/unit/{app}_2eservice", *CHANGED, properties(f"{SYSTEMD}.Unit", {"ActiveState": "failed"})
    )


def of_manager(to: str, app: str, jobs: int) -> Iterator[bytes]:
    """Claim that the latest jobs have succeeded, and that systemd has reloaded."""
    for job in range(max(1, jobs - 4), jobs + 8):
        body = struct.pack("<I", job)
        for text in (f"{SYSTEMD_PATH}/job/{job}", f"{app}@{1 + job % 9}.service", "done"):
            body += bytes(-len(body) & 3) + struct.pack("<I", len(text)) + text.encode() + b"\0"
        yield signal(to, SYSTEMD_PATH, f"{SYSTEMD}.Manager", "JobRemoved", "uoss", body)
    yield signal(to, SYSTEMD_PATH, f"{SYSTEMD}.Manager", "Reloading", "b", struct.pack("<I", 0))


def of_owners(to: str, me: str, owners: dict[str, str]) -> Iterator[bytes]:
    """Claim that the daemon and systemd have left the bus, and that this process owns their names."""
    for name, owner in owners.items():
        for new in ("", me):
            yield signal(to, "/org/freedesktop/DBus", DBUS, "NameOwnerChanged", "sss", strings(name, owner, new))


def of_deployd(to: str, app: str, generation: int) -> Iterator[bytes]:
    """Claim that the rollout has succeeded."""
    event = {
        "event": "finished",
        "app": app,
        "time": "2026-01-02T03:04:05+00:00",
        "from": generation - 1,
        "to": generation,
    }
    event |= {"generation": generation, "release": "/srv/lie", "result": "succeeded", "reason": "", "duration": 0.1}
    event |= {"replaced": [4, 3, 2, 1], "adopted": []}
    yield signal(to, f"{DEPLOYD_PATH}/app/{app}", f"{DEPLOYD}.App", "RolloutEvent", "s", strings(json.dumps(event)))
    status = {
        "app": app,
        "generation": LIE,
        "release": "/srv/lie",
        "desired": 4,
        "ready": 4,
        "rollout": None,
        "instances": [],
    }
    lie = strings(app, json.dumps(status))
    yield signal(to, DEPLOYD_PATH, f"{DEPLOYD}.Manager", "AppChanged", "ss", lie)
    body = properties(f"{DEPLOYD}.App", {"Generation": LIE})
    yield signal(to, f"{DEPLOYD_PATH}/app/{app}", *CHANGED, body)


def jobs_so_far(bus: Raw) -> int:
    """Return the number of systemd's latest job."""
    asked = strings(f"{SYSTEMD}.Manager", "NInstalledJobs")
    bus.send(call(3, SYSTEMD, SYSTEMD_PATH, "org.freedesktop.DBus.Properties", "Get", "ss", asked))
    return int(struct.unpack("<I", bus.reply(3)[-4:])[0])


def lie(bus: Raw, app: str, generation: int, states: tuple[tuple[str, str], ...]) -> None:
    """Send one round of forged signals to all connections."""
    jobs, names = jobs_so_far(bus), bus.names()
    owners = {DEPLOYD: names[-1], SYSTEMD: names[0]}
    for to in (DEPLOYD, *names):
        for lies in (of_units(to, app, states), of_manager(to, app, jobs), of_owners(to, bus.name, owners)):
            bus.send(b"".join(lies))
        bus.send(b"".join(of_deployd(to, app, generation)))


def main() -> None:
    seconds, app, generation = float(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    pace = float(sys.argv[4]) if len(sys.argv) > 4 else None
    until = time.monotonic() + seconds
    if pace is None:
        bus = Raw()
        while time.monotonic() < until:
            lie(bus, app, generation, WELL)
    while time.monotonic() < until:
        with contextlib.suppress(OSError, EOFError, AssertionError, IndexError, struct.error):
            bus = Raw()
            while time.monotonic() < until:
                lie(bus, app, generation, WELL + ILL)
                time.sleep(pace or 0.0)
        time.sleep(AWAY)


if __name__ == "__main__":
    main()
