"""An instance as systemd shows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What an instance is doing; systemd's ActiveState and SubState boiled down to what decides."""

    INACTIVE = "inactive"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"
    """Failed for good, or between two automatic restarts."""
    STANDBY = "standby"
    """It was ready, and rests frozen: it serves nobody and uses no CPU, only memory. Its pin is set aside."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One `NAME@N.service`. Times are CLOCK_MONOTONIC seconds, as systemd's ...TimestampMonotonic."""

    number: int
    generation: int | None
    """The pin: the generation it starts with; None when it has none."""
    state: State
    started: float = 0.0
    """When its current start began."""
    ready_since: float = 0.0
    """When it became active; 0 if it is not."""
    restarts: int = 0
    """NRestarts=: automatic restarts since it was last started on purpose."""
    invocation_id: str = ""
    main_pid: int = 0
    detail: str = ""
    """Why it is FAILED, for people: exit status, signal, time-out."""
    exit_status: int | None = None
    """Of a main process that has exited."""
    signal: str | None = None
    """The name of the signal that killed its main process."""
    ran: float | None = None
    """Seconds that a main process which has ended ran."""
    restarting: bool = False
    """It is FAILED, and systemd is about to start it again."""
    refused: bool = False
    """It is FAILED because its start came to nothing: there is nothing that systemd could start again."""
    probed_since: float = 0.0
    """When this very invocation first passed its probe; 0 if it has not. It stays when a later probe fails."""
    probe_error: str = ""
    """What its last probe said, if it was not what was expected."""
