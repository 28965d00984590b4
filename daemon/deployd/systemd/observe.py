"""Instances from the properties of their units: what systemd's states mean, and why a unit failed. Pure."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from deployd.model.instance import Instance, State
from deployd.systemd.exit_status import shown

# Values of org.freedesktop.systemd1.Service.ExecMainCode, from siginfo.h.
CLD_EXITED, CLD_KILLED, CLD_DUMPED = 1, 2, 3

STATES = {
    "active": State.READY,
    "reloading": State.READY,
    "refreshing": State.READY,
    "activating": State.STARTING,
    "deactivating": State.STOPPING,
    "failed": State.FAILED,
    "inactive": State.INACTIVE,
    "maintenance": State.INACTIVE,
}

RESTARTED = "crashed and was restarted by systemd"
"""The detail of an instance whose end was not seen, because systemd had started it again before."""

UNEXPLAINED = " (see its journal)"
"""The end of a detail whose reason only systemd's messages have."""

_BAD_END = ("exit-code", "signal", "core-dump")
"""Values of Result= if a process of the unit failed."""

NOT_READY = "did not say READY=1 within its gate timeout"

ENDED_EARLY = "exited with status 0 before it was ready"

AUTO_RESTART = ("auto-restart", "auto-restart-queued", "dead-before-auto-restart", "failed-before-auto-restart")
"""Sub-states of a service that systemd is about to restart (systemd 252, 254 and later)."""


def instance(number: int, pin: int | None, properties: Mapping[str, Any], aside: int | None = None) -> Instance:
    """Return instance `number` from the mirrored properties of its unit.

    `pin` is the generation that it is pinned to, `aside` the one with which it was put in standby. An instance without
    either runs with an unknown generation: one that died in standby and was restarted, for example.
    """
    state = STATES.get(str(properties.get("ActiveState", "inactive")), State.INACTIVE)
    # Between two automatic restarts the unit is "activating", but nothing runs.
    # Its service is signalled first: with a main process it has been started again, and how the last one ended is gone.
    again = str(properties.get("SubState", "")) in AUTO_RESTART and not properties.get("MainPID")
    restarting = again and state is not State.STOPPING
    if restarting:
        state = State.FAILED
    # If a unit is masked while it starts, systemd forgets its settings and ignores its READY=1.
    if state is State.STARTING and properties.get("LoadState") == "masked":
        state = State.FAILED
    # During an automatic restart the unit is inactive for a moment, with a start job.
    # systemd resets NRestarts= not at the stop, but at the next start. At an automatic restart it signals the new
    # process and invocation while the unit is still inactive.
    begun = bool(properties.get("MainPID") or properties.get("ControlPID"))
    restarts = int(properties.get("NRestarts", 0)) if begun or state is not State.INACTIVE else 0
    if state is State.INACTIVE and _has_job(properties):
        state = State.STARTING
    ready_since = _seconds(properties, "ActiveEnterTimestampMonotonic") if state is State.READY else 0.0
    if aside is not None and pin is None and state is State.READY:
        pin, state = aside, State.STANDBY
    down = not restarting and state in (State.INACTIVE, State.FAILED)
    ended, unclear = _ended(properties) if down else (None, False)
    over = state is State.FAILED or ended is not None or unclear
    return Instance(
        number=number,
        generation=pin,
        state=state,
        started=_seconds(properties, "InactiveExitTimestampMonotonic"),
        ready_since=ready_since,
        restarts=restarts,
        invocation_id=invocation_id(properties),
        main_pid=int(properties.get("MainPID", 0)),
        detail=failure(properties) if over else "",
        exit_status=exit_status(properties) if over else None,
        signal=killed_by(properties) if over else None,
        restarting=restarting,
        ran=_ran(properties) if over else None,
        ended=ended,
        unclear=unclear,
        was_ready=over and _was_ready(properties),
    )


def _ended(properties: Mapping[str, Any]) -> tuple[bool | None, bool]:
    """Return `ended` and `unclear` of an instance that is down.

    A stop is requested first and ends the process; but a process that says STOPPING=1 before it ends looks the same.
    A stop during the wait for an automatic restart is recognised by InactiveExitTimestamp=, which moves when that wait
    begins.
    """
    began = _seconds(properties, "InactiveExitTimestampMonotonic")
    exited = _seconds(properties, "ExecMainExitTimestampMonotonic")
    if not began or not exited:
        return None, False
    if began > exited:
        return False, False
    # In the first two cases systemd itself stops the unit, and the process ends later.
    stopped_by_systemd = properties.get("Result") in ("watchdog", "oom-kill")
    if stopped_by_systemd or exited <= _seconds(properties, "ActiveExitTimestampMonotonic"):
        return True, False
    return None, True


def exit_status(properties: Mapping[str, Any]) -> int | None:
    """Return the exit status of the main process, or None if it has not exited."""
    return int(properties.get("ExecMainStatus", 0)) if properties.get("ExecMainCode") == CLD_EXITED else None


def killed_by(properties: Mapping[str, Any]) -> str | None:
    """Return the name of the signal that killed the main process, or None if none did."""
    if properties.get("ExecMainCode") not in (CLD_KILLED, CLD_DUMPED):
        return None
    return _signal_name(int(properties.get("ExecMainStatus", 0)))


def _was_ready(properties: Mapping[str, Any]) -> bool:
    """True if the unit was active after its main process had started."""
    # Not InactiveExitTimestamp, which changes again when the wait for an automatic restart begins.
    started = _seconds(properties, "ExecMainStartTimestampMonotonic")
    return _seconds(properties, "ActiveEnterTimestampMonotonic") > started > 0


def _ran(properties: Mapping[str, Any]) -> float | None:
    """Return the seconds that the main process ran, or None if it has not ended."""
    started = int(properties.get("ExecMainStartTimestampMonotonic", 0))
    ended = int(properties.get("ExecMainExitTimestampMonotonic", 0))
    return (ended - started) / 1e6 if ended >= started > 0 else None


def invocation_id(properties: Mapping[str, Any]) -> str:
    """Return InvocationID= as the journal has it, or "" for a unit that was never started."""
    return _hex(properties.get("InvocationID", b""))


def failure(properties: Mapping[str, Any]) -> str:
    """Return why the unit failed, as the end of a sentence that begins with "instance 3"."""
    if properties.get("LoadState") == "masked" and properties.get("ActiveState") == "activating":
        return "was masked while it started"
    result = str(properties.get("Result", ""))
    status, killer = exit_status(properties), killed_by(properties)
    was_ready = _was_ready(properties)
    when = "after it was ready" if was_ready else "before it was ready"
    if result == "timeout" and not was_ready:
        return NOT_READY
    if result == "timeout":
        return "did not stop in time"
    if result == "watchdog":
        return "was ended by its watchdog"
    if result == "oom-kill":
        return f"ran out of memory {when}"
    if result == "resources":
        return f"could not be started: systemd lacked resources or a file{UNEXPLAINED}"
    if result in _BAD_END and _ended_well(properties):
        return f"failed {when}: another command of its unit failed{UNEXPLAINED}"
    if status is not None:
        return f"exited with status {shown(status)} {when}"
    if killer is not None:
        return f"was killed by {killer} {when}"
    return f"failed {when}" + (f" ({result})" if result not in ("", "success") else "")


def _ended_well(properties: Mapping[str, Any]) -> bool:
    """True if the main process ended as after a stop, so that it is not why the unit failed."""
    return exit_status(properties) == 0 or killed_by(properties) == "SIGTERM"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _has_job(properties: Mapping[str, Any]) -> bool:
    """True if the unit has a job. The property is (number, path), with number 0 for none."""
    job = properties.get("Job")
    return isinstance(job, list | tuple) and bool(job) and bool(job[0])


def _seconds(properties: Mapping[str, Any], name: str) -> float:
    return int(properties.get(name, 0)) / 1e6


def _hex(value: Any) -> str:
    return bytes(value).hex() if value else ""
