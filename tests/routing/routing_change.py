"""Shared by tests of a changed routing: what may come in between."""

from __future__ import annotations

import pytest

from tests.host.begun import Begun
from tests.host.faults import BOOT
from tests.host.stage import Stage
from tests.host.steered import DAEMON
from tests.units.listen_change import UMBRELLA

BOTH_WAYS = pytest.mark.parametrize("routing", ["steered", "shared"])


def other(routing: str) -> str:
    return "shared" if routing == "steered" else "steered"


def starting(stage: Stage) -> set[int]:
    return {row["instance"] for row in stage.status()["instances"] if row["state"] == "starting"}


def kill_twice(stage: Stage, begun: Begun) -> None:
    """Kill the daemon while the first new instance starts, which waits for `admit`, and when it is ready; let all
    others start."""
    number = begun.until("instance", state="starting")["instance"]
    stage.machine.run(["systemctl", "kill", "--signal=KILL", DAEMON])
    begun.until("daemon-back")
    # What has happened before the new daemon looks is no event.
    stage.machine.wait_for(lambda: number in starting(stage), what="the new daemon to see it start")
    stage.admit(number)
    begun.until("instance", state="ready")
    stage.machine.run(["systemctl", "kill", "--signal=KILL", DAEMON])
    stage.admit()


def boot_without_daemon(stage: Stage, routing: str) -> None:
    """Begin the change to `routing`, pull the plug when an instance is ready, and boot; `start_daemon` ends it."""
    stage.configure(routing=routing, release=stage.release("v2", boot=BOOT))
    begun = stage.begin("apply")
    begun.until("instance", state="ready")
    stage.machine.run(["systemctl", "mask", DAEMON])
    stage.machine.poweroff(clean=False)
    stage.close()
    stage.machine.start()
    stage.machine.wait_unit(UMBRELLA)


def start_daemon(stage: Stage) -> None:
    """Check that no unit has failed, and start the daemon."""
    assert stage.machine.run(["systemctl", "--failed", "--plain", "--no-legend"]).stdout == ""
    stage.machine.run(["systemctl", "unmask", DAEMON])
    stage.machine.run(["systemctl", "start", DAEMON])
