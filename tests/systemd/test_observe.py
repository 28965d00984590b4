"""The meaning of systemd's properties, as a table, and that any combination of them is understood."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.model.instance import Instance, State
from deployd.systemd import observe

SECOND = 1_000_000
ANOTHER_COMMAND = "failed before it was ready: another command of its unit failed (see its journal)"

# An instance that was never ready, started 5 s after boot.
BOOTING = {"ExecMainStartTimestampMonotonic": 5 * SECOND, "InactiveExitTimestampMonotonic": 5 * SECOND}
# An instance that was ready once, before its last start by systemd.
SECOND_START = {**BOOTING, "ActiveEnterTimestampMonotonic": 2 * SECOND}
WAS_READY = {**BOOTING, "ActiveEnterTimestampMonotonic": 6 * SECOND}


@pytest.mark.parametrize(
    ("active", "sub", "state"),
    [
        ("active", "running", State.READY),
        ("reloading", "reload-notify", State.READY),
        ("refreshing", "refresh-extensions", State.READY),
        ("activating", "start", State.STARTING),
        ("activating", "start-pre", State.STARTING),
        ("activating", "auto-restart", State.FAILED),
        ("activating", "auto-restart-queued", State.FAILED),
        ("deactivating", "stop-sigterm", State.STOPPING),
        ("deactivating", "auto-restart", State.STOPPING),
        ("failed", "failed", State.FAILED),
        ("inactive", "dead", State.INACTIVE),
        ("inactive", "dead-resources-pinned", State.INACTIVE),
        ("maintenance", "cleaning", State.INACTIVE),
        ("a state of the future", "", State.INACTIVE),
    ],
)
def test_states(active: str, sub: str, state: State) -> None:
    assert observe.instance(1, 7, {"ActiveState": active, "SubState": sub}).state is state


def test_a_unit_without_properties_is_inactive() -> None:
    assert observe.instance(3, None, {}) == Instance(3, None, State.INACTIVE)


def test_all_properties_are_used() -> None:
    seen = {
        "ActiveState": "active",
        "SubState": "running",
        "InvocationID": [0xAB, 0x01, *([0] * 14)],
        "MainPID": 4711,
        "NRestarts": 2,
        **WAS_READY,
    }
    assert observe.instance(3, 7, seen) == Instance(
        number=3,
        generation=7,
        state=State.READY,
        started=5.0,
        ready_since=6.0,
        restarts=2,
        invocation_id="ab01" + "00" * 14,
        main_pid=4711,
    )


@pytest.mark.parametrize("active", ["inactive", "activating", "deactivating", "failed"])
def test_only_a_ready_instance_has_ready_since(active: str) -> None:
    assert observe.instance(1, 7, {"ActiveState": active, **WAS_READY}).ready_since == 0.0


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"Result": "exit-code", "ExecMainCode": 1, "ExecMainStatus": 3}, "exited with status 3 before it was ready"),
        ({"Result": "protocol", "ExecMainCode": 1, "ExecMainStatus": 0}, "exited with status 0 before it was ready"),
        (
            {"Result": "exit-code", "ExecMainCode": 1, "ExecMainStatus": 5, **WAS_READY},
            "exited with status 5 after it was ready",
        ),
        (
            {"Result": "exit-code", "ExecMainCode": 1, "ExecMainStatus": 5, **SECOND_START},
            "exited with status 5 before it was ready",
        ),
        ({"Result": "signal", "ExecMainCode": 2, "ExecMainStatus": 9}, "was killed by SIGKILL before it was ready"),
        (
            {"Result": "exit-code", "ExecMainCode": 1, "ExecMainStatus": 217},
            "exited with status 217/USER before it was ready",
        ),
        ({"Result": "exit-code", "ExecMainCode": 1, "ExecMainStatus": 0}, ANOTHER_COMMAND),
        ({"Result": "signal", "ExecMainCode": 2, "ExecMainStatus": 15}, ANOTHER_COMMAND),
        (
            {"Result": "core-dump", "ExecMainCode": 3, "ExecMainStatus": 11, **WAS_READY},
            "was killed by SIGSEGV after it was ready",
        ),
        ({"Result": "signal", "ExecMainCode": 2, "ExecMainStatus": 63}, "was killed by signal 63 before it was ready"),
        ({"Result": "timeout", **BOOTING}, "did not say READY=1 within its gate timeout"),
        ({"Result": "timeout", **SECOND_START}, "did not say READY=1 within its gate timeout"),
        ({"Result": "timeout", **WAS_READY}, "did not stop in time"),
        ({"Result": "watchdog", **WAS_READY}, "was ended by its watchdog"),
        ({"Result": "oom-kill", "ExecMainCode": 2, "ExecMainStatus": 9}, "ran out of memory before it was ready"),
        ({"Result": "resources"}, "could not be started: systemd lacked resources or a file (see its journal)"),
        ({"Result": "start-limit-hit"}, "failed before it was ready (start-limit-hit)"),
        ({"Result": "success"}, "failed before it was ready"),
        ({}, "failed before it was ready"),
    ],
)
@pytest.mark.parametrize(("active", "sub"), [("failed", "failed"), ("activating", "auto-restart")])
def test_reasons(properties: dict[str, Any], reason: str, active: str, sub: str) -> None:
    seen = {"ActiveState": active, "SubState": sub, **BOOTING, **properties}
    assert observe.instance(1, 7, seen).detail == reason


def test_a_new_process_is_seen_before_the_state_of_its_unit() -> None:
    """systemd signals the service first, with nothing left of how the last process ended."""
    started = {"MainPID": 74, "ExecMainCode": 0, "Result": "success", "NRestarts": 1}
    item = observe.instance(1, 7, {"ActiveState": "activating", "SubState": "auto-restart", **BOOTING, **started})
    assert (item.state, item.restarting, item.detail) == (State.STARTING, False, "")


def test_only_a_failed_instance_has_a_reason() -> None:
    died = {"Result": "exit-code", "ExecMainCode": 1, "ExecMainStatus": 3, "NRestarts": 4}
    for active in ("active", "activating", "deactivating", "inactive"):
        assert observe.instance(1, 7, {"ActiveState": active, **died}).detail == ""


@pytest.mark.parametrize(
    ("properties", "status", "signal", "ran"),
    [
        ({"ExecMainCode": 1, "ExecMainStatus": 3}, 3, None, None),
        ({"ExecMainCode": 1, "ExecMainStatus": 0, "ExecMainExitTimestampMonotonic": 7 * SECOND}, 0, None, 2.0),
        ({"ExecMainCode": 2, "ExecMainStatus": 9}, None, "SIGKILL", None),
        ({"ExecMainCode": 3, "ExecMainStatus": 11, "ExecMainExitTimestampMonotonic": 5 * SECOND}, None, "SIGSEGV", 0.0),
        ({"ExecMainCode": 0, "ExecMainStatus": 0, "ExecMainExitTimestampMonotonic": 4 * SECOND}, None, None, None),
        ({}, None, None, None),
    ],
)
def test_exit_status_and_signal_of_a_failed_instance(
    properties: dict[str, Any], status: int | None, signal: str | None, ran: float | None
) -> None:
    for active, sub in (("failed", "failed"), ("activating", "auto-restart")):
        item = observe.instance(1, 7, {"ActiveState": active, "SubState": sub, **BOOTING, **properties})
        assert (item.exit_status, item.signal, item.ran) == (status, signal, ran)
    for active in ("active", "activating", "deactivating"):
        item = observe.instance(1, 7, {"ActiveState": active, **BOOTING, **properties})
        assert (item.exit_status, item.signal, item.ran) == (None, None, None), "of an earlier life"


READY = {"InactiveExitTimestampMonotonic": 5, "ExecMainStartTimestampMonotonic": 5, "ActiveEnterTimestampMonotonic": 6}


@pytest.mark.parametrize(
    ("properties", "ended"),
    [
        ({}, None),
        (READY, None),
        ({**READY, "ExecMainExitTimestampMonotonic": 9, "ActiveExitTimestampMonotonic": 9}, True),
        ({**READY, "ExecMainExitTimestampMonotonic": 9, "ActiveExitTimestampMonotonic": 8}, "unclear"),
        # Stopped before it was ready: the unit left active in an earlier life.
        ({**READY, "ExecMainExitTimestampMonotonic": 9, "ActiveExitTimestampMonotonic": 4}, "unclear"),
        # Stopped while it waited for its automatic restart.
        (
            {
                **READY,
                "InactiveExitTimestampMonotonic": 10,
                "ExecMainExitTimestampMonotonic": 9,
                "ActiveExitTimestampMonotonic": 9,
            },
            False,
        ),
        (
            {
                **READY,
                "ExecMainExitTimestampMonotonic": 9,
                "ActiveExitTimestampMonotonic": 8,
                "Result": "watchdog",
            },
            True,
        ),
    ],
)
def test_an_end_without_a_request(properties: dict[str, Any], ended: bool | str | None) -> None:
    for active in ("inactive", "failed"):
        item = observe.instance(1, 7, {"ActiveState": active, "SubState": "dead", **properties})
        assert ("unclear" if item.unclear else item.ended) == ended
        assert bool(item.detail) is (active == "failed" or ended is not None)
    for active, sub in (("active", "running"), ("activating", "auto-restart"), ("deactivating", "stop-sigterm")):
        assert observe.instance(1, 7, {"ActiveState": active, "SubState": sub, **properties}).ended is None


words = st.text(max_size=12)
numbers = st.integers(0, 2**64 - 1)
# systemd guarantees the types, not the values, and any property may be missing.
anything = st.fixed_dictionaries(
    {},
    optional={
        "ActiveState": st.sampled_from(sorted(observe.STATES)) | words,
        "SubState": st.sampled_from(["auto-restart", "dead", "running"]) | words,
        "LoadState": words,
        "Result": st.sampled_from(["timeout", "exit-code", "signal", "watchdog", "oom-kill", "success"]) | words,
        "InvocationID": st.binary(max_size=16) | st.lists(st.integers(0, 255), max_size=16),
        "InactiveExitTimestampMonotonic": numbers,
        "ActiveEnterTimestampMonotonic": numbers,
        "ActiveExitTimestampMonotonic": numbers,
        "ExecMainStartTimestampMonotonic": numbers,
        "ExecMainExitTimestampMonotonic": numbers,
        "MainPID": st.integers(0, 2**32 - 1),
        "NRestarts": st.integers(0, 2**32 - 1),
        "ExecMainCode": st.integers(-(2**31), 2**31 - 1),
        "ExecMainStatus": st.integers(-(2**31), 2**31 - 1),
        "A property of the future": words,
    },
)


@given(anything, st.integers(0, 10**18), st.none() | st.integers(1, 10**18))
def test_any_combination_of_properties_is_understood(properties: dict[str, Any], number: int, pin: int | None) -> None:
    seen = observe.instance(number, pin, properties)
    assert (seen.number, seen.generation) == (number, pin)
    assert bool(seen.detail) is (seen.state is State.FAILED or seen.ended is not None or seen.unclear)
    assert seen.ready_since == 0.0 or seen.state is State.READY
    assert bytes.fromhex(seen.invocation_id) == bytes(properties.get("InvocationID", b""))
    assert "\n" not in observe.failure({**properties, "Result": "exit-code"})
    assert observe.instance(number, pin, properties) == seen


def test_inactive_with_a_job_is_starting() -> None:
    # An automatic restart passes through this state. An instance that has passed its gate must not lose that.
    item = observe.instance(3, 7, {"ActiveState": "inactive", "NRestarts": 1, "Job": [12, "/org/freedesktop/x"]})
    assert (item.state, item.restarts) == (State.STARTING, 0)
    assert observe.instance(3, 7, {"ActiveState": "inactive", "Job": [0, "/"]}).state is State.INACTIVE


@pytest.mark.parametrize("process", ["MainPID", "ControlPID"])
def test_a_process_in_an_inactive_unit_is_that_of_its_next_start(process: str) -> None:
    """systemd has counted the restart, and has reset the counter if this is none."""
    begun = {"ActiveState": "inactive", "NRestarts": 2, "Job": [12, "/org/freedesktop/x"], process: 74}
    item = observe.instance(3, 7, begun)
    assert (item.state, item.restarts) == (State.STARTING, 2)


def test_a_unit_that_is_masked_while_it_starts_has_failed() -> None:
    """systemd ignores its READY=1 and has forgotten its time-out."""
    starting = {**BOOTING, "ActiveState": "activating", "SubState": "start", "LoadState": "masked"}
    seen = observe.instance(1, 7, starting)
    assert (seen.state, seen.detail) == (State.FAILED, "was masked while it started")
    assert observe.instance(1, 7, {**starting, "ActiveState": "active"}).state is State.READY


def test_an_active_instance_whose_pin_is_set_aside_is_in_standby() -> None:
    up = {"ActiveState": "active", "ActiveEnterTimestampMonotonic": 7_000_000}
    seen = observe.instance(3, None, up, aside=5)
    assert (seen.state, seen.generation, seen.ready_since) == (State.STANDBY, 5, 7.0)
    # With a pin it is ready, also if a killed daemon left the record of its standby.
    assert observe.instance(3, 6, up, aside=5) == observe.instance(3, 6, up)


@pytest.mark.parametrize("state", ["activating", "deactivating", "failed", "inactive"])
def test_an_instance_that_ended_in_standby_has_no_generation(state: str) -> None:
    seen = observe.instance(3, None, {"ActiveState": state}, aside=5)
    assert seen == observe.instance(3, None, {"ActiveState": state})
    assert seen.generation is None
