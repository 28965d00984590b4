"""What the tests of a changed `listen` look at: unit files, listeners, and requests that failed."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path

from tests.host.stage import APP, INSTANCES, Begun, Ended, Stage
from tests.load.client import Load
from tests.load.record import Outcome, Record, Request

OLD, NEW = ("127.0.0.1", 8080), ("127.0.0.1", 8081)
OLD_LISTEN, NEW_LISTEN = ["127.0.0.1:8080"], ["127.0.0.1:8081"]
FIRST, SECOND, STARTER = f"{APP}.socket", f"{APP}:2.socket", f"{APP}:2.service"
UMBRELLA, TEMPLATE = f"{APP}.service", f"{APP}@.service"
UNITS = "/etc/systemd/system"
MILLISECOND = 0.001
"""Seconds to which the times of events are rounded."""


def load_on_new(stage: Stage) -> Load:
    return stage.load(100, 4, "--port", str(NEW[1]))


def unit_files(stage: Stage) -> dict[str, tuple[int, str]]:
    """Return the unit files of the app as a whole: inode and text. A file that is written again has another inode."""
    found = [*Path(stage.machine.path(UNITS)).glob(f"{APP}[.:]*"), Path(stage.machine.path(f"{UNITS}/{TEMPLATE}"))]
    return {path.name: (path.stat().st_ino, path.read_text()) for path in found}


def wanted_at_boot(stage: Stage) -> set[str]:
    return {path.name for path in Path(stage.machine.path(f"{UNITS}/sockets.target.wants")).glob(f"{APP}[.:]*")}


def listening(stage: Stage) -> list[str]:
    """Return the TCP addresses that have a listener."""
    lines = stage.machine.run(["ss", "--no-header", "--listening", "--tcp", "--numeric"]).stdout.splitlines()
    return sorted(line.split()[3] for line in lines)


def refused(stage: Stage, address: tuple[str, int]) -> bool:
    try:
        stage.machine.connect(address).close()
    except ConnectionRefusedError:
        return True
    return False


def last(ended: Ended, state: str) -> float:
    """Return the time before the last event of an instance with this state (CLOCK_MONOTONIC, as in the load)."""
    times = [event["time"] for event in ended.events if event.get("state") == state]
    return datetime.fromisoformat(times[-1]).timestamp() - (time.time() - time.monotonic()) - MILLISECOND


def closed(stage: Stage, socket: str) -> float:
    """Return the time by which systemd has closed a socket (CLOCK_MONOTONIC)."""
    entries = stage.machine.run(["journalctl", "--output=json", f"UNIT={socket}"]).stdout.splitlines()
    ends = [entry for entry in map(json.loads, entries) if "Deactivated successfully" in str(entry.get("MESSAGE"))]
    return int(ends[-1]["__MONOTONIC_TIMESTAMP"]) / 1e6


def failed_too_early(stage: Stage, socket: str, record: Record, ended: Ended) -> list[Request]:
    """Return the requests to an address that should not have failed, although `socket` was closed.

    In the second pass after a change of `listen`, it is closed when the last instance is ready, and the last one that
    accepts connections there is stopped after that. In the moment in which systemd closes it, it may itself accept and
    close a connection that waits; all others are served to the stop.
    """
    closing, end, stop = last(ended, "ready"), closed(stage, socket), last(ended, "stopping")

    def is_due_to_closing(request: Request) -> bool:
        return request.outcome is Outcome.RESET and request.end >= closing and request.sent <= end

    return [request for request in record.failed if request.end < stop and not is_due_to_closing(request)]


def check_changed(stage: Stage, ended: Ended, old: Load, new: Load | None) -> None:
    """Check that the app listens on 8081 instead of 8080, and that no other client noticed."""
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    generation = ended.generation
    record = old.stop()
    assert not failed_too_early(stage, FIRST, record, ended), record.by_outcome()
    assert refused(stage, OLD)
    assert listening(stage) == ["127.0.0.1:8081"]
    if new is not None:
        record = new.stop()
        assert len(record)
        assert not record.failed, record.by_outcome()
    ran = stage.invocations()
    assert [item.generation for item in ran.values()] == [generation] * INSTANCES
    assert unit_files(stage).keys() == {SECOND, STARTER, UMBRELLA, TEMPLATE}
    assert wanted_at_boot(stage) == {SECOND}
    for number in ran:
        _, environment = stage.process(number)
        assert (environment["LISTEN_FDS"], environment["LISTEN_FDNAMES"]) == ("1", FIRST)
    assert stage.machine.run(["systemctl", "--failed", "--quiet"]).stdout == ""
    diff = stage.deployd("units", APP, "--diff")
    assert (diff.returncode, diff.stdout) == (0, ""), diff


POINTS = {
    "begun": [{"event": "started"}],
    "starting": [{"event": "instance", "state": "starting"}],
    "closing": [{"event": "closing"}],
    "second-pass": [{"event": "closing"}, {"event": "instance", "state": "starting"}],
    "last": [{"event": "closing"}, *[{"event": "instance", "state": "stopping"}] * INSTANCES],
    "closed": [{"event": "closing"}, *[{"event": "instance", "state": "stopped"}] * INSTANCES],
}
"""Events to wait for, one after another."""


def reach(begun: Begun, point: str) -> None:
    for event in POINTS[point]:
        begun.until(**event)  # type: ignore[arg-type]
