"""Instances, as systemd reports them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from deployd.model.hang import Hang


class State(StrEnum):
    """The state of an instance, derived from systemd's ActiveState and SubState."""

    INACTIVE = "inactive"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"
    """Failed, or waiting for an automatic restart."""
    STANDBY = "standby"
    """Frozen after it was ready: it gets no connections and uses memory but no CPU. Its pin is set aside."""
    DRAINING = "draining"
    """It was asked to stop and may take long to finish its jobs. Nothing waits for it; only its number is taken."""


OUT_OF_SERVICE = (State.INACTIVE, State.STANDBY, State.DRAINING)
"""The states of instances that count neither for nor against a goal."""


class Listener(StrEnum):
    """What is known of the listening socket that systemd passes to an instance."""

    PASSED = "passed"
    """A process of the instance has it, or that cannot be known."""
    UNSEEN = "unseen"
    """No process was seen to have it so far: it was not looked for, or not often enough."""
    MISSING = "missing"
    """No process of the instance has it, so it serves no clients."""
    UNUSED = "unused"
    """Clients have waited at it for long, and no process has ever accepted a connection from it."""


_DEAF = (Listener.MISSING, Listener.UNUSED)


@dataclass(frozen=True, slots=True)
class Instance:
    """One `NAME@N.service`. Times are CLOCK_MONOTONIC seconds, as systemd's ...TimestampMonotonic."""

    number: int
    generation: int | None
    """The generation that the instance is pinned to, or None without a pin."""
    state: State
    started: float = 0.0
    """The time at which its current start began."""
    ready_since: float = 0.0
    """The time at which it became active; 0 if it is not active."""
    restarts: int = 0
    """NRestarts=: automatic restarts since the last start job."""
    invocation_id: str = ""
    main_pid: int = 0
    detail: str = ""
    """Why it is FAILED or has ended, as text: exit status, signal, time-out."""
    exit_status: int | None = None
    """The exit status of the main process, if that has exited."""
    signal: str | None = None
    """The name of the signal that killed the main process, if one did."""
    ran: float | None = None
    """Seconds for which the main process ran, if it has ended."""
    restarting: bool = False
    """It is FAILED, and systemd is about to restart it."""
    ended: bool | None = None
    """For an instance that is down and that systemd does not start again: True if its main process ended without a
    request, False if a stop was requested. None otherwise, if it never ran, or if that is not known yet."""
    unclear: bool = False
    """Only the journal knows whether `ended` is True or False."""
    was_ready: bool = False
    """Its main process, which has ended, had been ready."""
    refused: bool = False
    """It is FAILED because its start job was refused or failed, so that systemd does not restart it."""
    probed_since: float = 0.0
    """The time at which this invocation first passed its probe, or 0. A later failure does not reset it."""
    probed_from: float = 0.0
    """The time from which on it was probed for its gate; infinity for probes that are not for a gate."""
    probe_error: str = ""
    """The error of its last probe, or "" if that succeeded."""
    wrong_answers: int = 0
    """Its last probes in a row that had a definite wrong answer."""
    wrong_since: float = 0.0
    """The time of the first of them, or 0."""
    probe_failures: int = 0
    """How many of its last probes have failed in a row."""
    listener: Listener = Listener.PASSED
    listens: tuple[str, ...] = ()
    """If its listener is MISSING, the addresses on which it listens instead."""
    draining_since: float = 0.0
    """When it began to drain; 0 if it does not."""
    drains_until: float = 0.0
    """When it will be killed at the latest."""
    hang: Hang | None = None
    """What it does not answer, if it hangs."""

    @property
    def is_up(self) -> bool:
        """True if it runs, or starts with the app."""
        return self.state is not State.INACTIVE or bool(self.generation)

    @property
    def serves(self) -> bool:
        """True if it is ready and, as far as is known, accepts connections of clients."""
        return self.state is State.READY and self.listener not in _DEAF

    @property
    def deaf(self) -> str:
        """Why it serves no clients although it is ready, as the end of a sentence; "" if it does."""
        if self.listener is Listener.PASSED or self.state is not State.READY or self.serves:
            return ""
        if self.listener is Listener.UNUSED:
            return "has never accepted a connection, although clients have waited for its gate timeout"
        if self.listens:
            return f"listens on {', '.join(self.listens)} and not on the socket that systemd passes to it"
        return "has closed the socket that systemd passes to it"
