"""What the properties of a timer and its service say of its runs."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from deployd.systemd.observe import CLD_EXITED, CLD_KILLED
from deployd.systemd.timers import NEVER, timer

BOOT = 1_700_000_000.0
UNIT = {"ActiveState": "active", "NextElapseUSecRealtime": int(1e6 * (BOOT + 500))}
RAN = {
    "ActiveState": "inactive",
    "Result": "success",
    "ExecMainCode": CLD_EXITED,
    "ExecMainStatus": 0,
    "ExecMainStartTimestampMonotonic": 100_000_000,
    "ExecMainExitTimestampMonotonic": 160_000_000,
}
services = st.fixed_dictionaries(
    {},
    optional={
        "ActiveState": st.sampled_from(["inactive", "active", "activating", "deactivating", "failed"]),
        "Result": st.sampled_from(["success", "exit-code", "timeout", "resources"]),
        "ExecMainCode": st.integers(0, 3),
        "ExecMainStatus": st.integers(0, 255),
        "ExecMainStartTimestampMonotonic": st.integers(0, 10**12),
        "ExecMainExitTimestampMonotonic": st.integers(0, 10**12),
    },
)


def test_a_run_that_has_ended() -> None:
    found = timer("nightly", UNIT, RAN, 7, BOOT)
    assert (found.active, found.next_run) == (True, BOOT + 500)
    assert (found.running, found.started, found.ended) == (False, BOOT + 100, BOOT + 160)
    assert (found.result, found.exit_status, found.signal, found.failed) == ("success", 0, None, False)
    assert found.generation == 7


def test_a_run_that_was_killed() -> None:
    killed = {**RAN, "ActiveState": "failed", "Result": "signal", "ExecMainCode": CLD_KILLED, "ExecMainStatus": 9}
    found = timer("nightly", UNIT, killed, 7, BOOT)
    assert (found.result, found.exit_status, found.signal, found.failed) == ("signal", None, "SIGKILL", True)


def test_a_run_under_way_has_no_result_of_the_one_before() -> None:
    found = timer("nightly", UNIT, {**RAN, "ActiveState": "activating", "Result": "exit-code"}, 7, BOOT)
    assert (found.running, found.ended, found.result, found.failed) == (True, None, "", False)


def test_a_timer_that_never_ran() -> None:
    service: dict[str, Any] = {"ActiveState": "inactive", "Result": "success", "ExecMainStartTimestampMonotonic": 0}
    for never in NEVER:
        found = timer("nightly", {"ActiveState": "inactive", "NextElapseUSecRealtime": never}, service, 3, BOOT)
        assert (found.active, found.next_run, found.started, found.result) == (False, None, None, "")
        assert found.generation is None  # that of a run before the boot


@given(services)
def test_only_what_has_ended_has_a_result(service: dict[str, Any]) -> None:
    found = timer("nightly", UNIT, service, 7, BOOT)
    if found.running or not found.result:
        assert (found.exit_status, found.signal, found.failed) == (None, None, False)
    if found.failed:
        assert not found.running
