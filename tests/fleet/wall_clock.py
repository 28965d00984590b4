"""Moves the wall clock of a host for its daemon and its agent: all hosts of the tests have the clock of one kernel."""

from __future__ import annotations

from tests.host.machine import Machine
from tests.host.root import HostRoot
from tests.servers.packages import debian_packages, unpack

PACKAGES = ("libfaketime",)
UNITS = ("deployd.service", "deployd-fleet.service")
# Times of units and processes are monotonic, and those of files are the kernel's.
DROP_IN = """\
[Service]
Environment=LD_PRELOAD={library} FAKETIME={by} FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1
"""


def move(machine: Machine, by: str) -> None:
    """Move the clock of a host that runs by a time such as +1h, from its next boot on."""
    unpack(machine, debian_packages(HostRoot.native(), PACKAGES))
    library = machine.run(["sh", "-c", "ls /usr/lib/*/faketime/libfaketime.so.1"]).stdout.strip()
    for unit in UNITS:
        machine.write(f"/etc/systemd/system/{unit}.d/wall-clock.conf", DROP_IN.format(library=library, by=by))
