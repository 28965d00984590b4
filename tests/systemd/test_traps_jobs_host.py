"""Traps of systemd: jobs, signals and automatic restarts. docs/traps.md says what follows from each."""

from __future__ import annotations

from typing import Any

import pytest

from tests.systemd.bare import UNITS, Bare, Signal

ONCE = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n"
FOREVER = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec={delay}\nExecStart=sleep 10000\n"
KEEP = "[Unit]\nWants=fast.service slow.service\n" + ONCE
"""A unit that refers to the others, so that systemd keeps them loaded as it keeps the instances of an app."""


@pytest.fixture(scope="module", autouse=True)
def _units(bare: Bare) -> None:
    bare.units(
        once_service=ONCE,
        keep_service=KEEP,
        fast_service=FOREVER.format(delay="100ms"),
        slow_service=FOREVER.format(delay="1h"),
        never_service="[Unit]\nConditionPathExists=/nonexistent\n" + ONCE,
        stuck_service="[Service]\nType=notify\nExecStart=sleep 10000\n",
    )
    bare.run("systemctl", "start", "keep.service", "slow.service")


def of(unit: str, found: list[Signal]) -> list[dict[str, Any]]:
    """Return the changed properties of a unit, as far as the signals have them, in order."""
    path = f"/unit/{unit.replace('.', '_2e')}"
    return [item.values for item in found if item.path.endswith(path) and item.values]


def test_changes_of_a_unit_are_signalled_before_the_end_of_its_job(bare: Bare) -> None:
    with bare.monitor() as signals:
        bare.run("systemctl", "restart", "once.service")
        found = signals(lambda item: item.member == "JobRemoved")
        last = [values for values in of("once.service", found) if "ActiveState" in values][-1]
        assert last["ActiveState"] == "active"
        assert last["Job"][0] == found[-1].arguments[0], "the job is still the unit's"
        after = signals(lambda item: item.values.get("Job", [1])[0] == 0)
        assert of("once.service", after)[-1]["Job"][0] == 0


def test_a_unit_that_was_not_loaded_appears_without_properties(bare: Bare) -> None:
    with bare.monitor() as signals:
        bare.run("systemctl", "start", "never.service")
        found = signals(lambda item: item.member == "JobRemoved")
    first = next(item for item in found if "never" in item.path or "never.service" in item.arguments)
    assert (first.member, first.values) == ("UnitNew", {})


def test_a_queued_job_answers_a_second_request(bare: Bare) -> None:
    call = ["busctl", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1"]
    start = [*call, "org.freedesktop.systemd1.Manager", "StartUnit", "ss", "stuck.service", "replace"]
    assert bare.run(*start) == bare.run(*start)
    bare.run("systemctl", "stop", "stuck.service")


def test_a_start_job_is_done_although_a_condition_was_false(bare: Bare) -> None:
    with bare.monitor() as signals:
        bare.run("systemctl", "start", "never.service")
        *_, end = signals(lambda item: item.member == "JobRemoved")
    assert end.arguments[2:] == ["never.service", "done"]
    assert bare.show("never.service", "ActiveState") == "inactive"


def test_in_an_automatic_restart_a_unit_is_inactive_with_a_job(bare: Bare) -> None:
    """252; 254 and later leave it activating. In both NRestarts= has changed before the unit is up again."""
    bare.run("systemctl", "restart", "fast.service")
    before = bare.show("fast.service", "InvocationID")
    with bare.monitor() as signals:
        bare.kill("fast.service")
        found = signals(lambda item: item.values.get("ActiveState") == "active" and "fast" in item.path)
    seen = of("fast.service", found)
    down = [values for values in seen if values.get("ActiveState") == "inactive"]
    assert bool(down) == (bare.version < 254)
    assert all(values["Job"][0] for values in down)
    counted = next(place for place, values in enumerate(seen) if values.get("NRestarts") == 1)
    assert not any(values.get("ActiveState") in ("inactive", "active") for values in seen[:counted])
    bare.wait_again("fast.service", before)


def test_restarts_are_forgotten_by_the_next_start_but_not_after_a_stop_in_the_wait(bare: Bare) -> None:
    """252; 257 forgets them then, too."""

    def crash() -> None:
        before = bare.show("fast.service", "InvocationID")
        bare.kill("fast.service")
        bare.wait_again("fast.service", before)
        assert bare.show("fast.service", "NRestarts") == "1"

    bare.run("systemctl", "restart", "fast.service")
    crash()
    bare.run("systemctl", "restart", "fast.service")
    assert bare.show("fast.service", "NRestarts") == "0"

    crash()
    bare.machine.write(f"{UNITS}/fast.service.d/slow.conf", "[Service]\nRestartSec=1h\n")
    bare.run("systemctl", "daemon-reload")
    bare.kill("fast.service")
    bare.wait("fast.service", "SubState", "auto-restart")
    bare.run("systemctl", "stop", "fast.service")
    bare.run("systemctl", "start", "fast.service")
    assert bare.show("fast.service", "NRestarts") == ("1" if bare.version < 257 else "0")
    bare.run("systemctl", "reset-failed", "fast.service")
    assert bare.show("fast.service", "NRestarts") == "0"


def test_a_start_waits_for_the_automatic_restart(bare: Bare) -> None:
    """252, where its job would be queued for an hour; 257 starts at once. After a stop both do."""
    bare.run("systemctl", "restart", "slow.service")
    bare.kill("slow.service")
    bare.wait("slow.service", "SubState", "auto-restart")
    bare.run("systemctl", "start", "--no-block", "slow.service")
    bare.run("systemctl", "start", "once.service")  # whatever could be done meanwhile has been
    waits = "slow.service start waiting" in " ".join(bare.run("systemctl", "list-jobs", "--no-legend").split())
    assert waits == (bare.version < 254)
    assert bare.show("slow.service", "SubState") == ("auto-restart" if waits else "running")
    bare.run("systemctl", "stop", "slow.service")
    bare.run("systemctl", "start", "slow.service")


def test_in_the_wait_the_time_of_the_start_is_that_of_the_wait(bare: Bare) -> None:
    """InactiveExitTimestamp= has moved on; ExecMainStartTimestamp= is still that of the process that ended."""
    bare.run("systemctl", "restart", "slow.service")
    left, started = (f"{name}TimestampMonotonic" for name in ("InactiveExit", "ExecMainStart"))
    before = {name: bare.show("slow.service", name) for name in (left, started)}
    bare.kill("slow.service")
    bare.wait("slow.service", "SubState", "auto-restart")
    assert bare.show("slow.service", left) != before[left]
    assert bare.show("slow.service", started) == before[started]
    bare.run("systemctl", "stop", "slow.service")
