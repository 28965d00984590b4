"""The readiness gate of an app: when a new instance counts as ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class GateType(StrEnum):
    """What makes the unit of an instance active."""

    NOTIFY = "notify"
    """READY=1 of sd_notify(3)."""
    EXEC = "exec"
    """The execution of the program, for programs that cannot notify; readiness is then left to a probe."""


FAIL_AFTER = 5
"""Wrong answers in a row that fail the gate, unless the app file sets `fail_after`."""

SPAN = 2.0
"""Seconds that wrong answers must go on for, at least, before they fail the gate."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one probe."""

    problem: str = ""
    """What the instance did instead of what was expected, or "" if the probe succeeded."""
    wrong: bool = False
    """True if the answer is definite: the instance did answer, and did not ask to wait."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A check of an instance, over HTTP or by a command. Times in seconds.

    One of `http` and `command` is set.
    """

    http: str = ""
    """The path of the request, which reaches this instance and no other."""
    command: tuple[str, ...] = ()
    """An argv, run in the release as the app's user."""
    expect: int = 200
    """The HTTP status, or the exit status of the command."""
    interval: float = 0.25
    timeout: float = 2.0
    fail_after: int | None = None
    """Wrong answers in a row that fail the gate; 0 for never, None for the default."""
    host: str = ""
    """The Host header of the request; "" stands for the name of the app."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The [gate] table. Times in seconds."""

    timeout: float = 60.0
    min_ready: float = 0.0
    type: GateType = GateType.NOTIFY
    probe: Probe | None = None
    watchdog: float = 30.0
    """Steered only: the time for which an instance may answer no request at all while some wait; 0 for any time."""
    smoke: tuple[tuple[str, ...], ...] = ()
    """Commands, each an argv, that test the first new instance of a rollout."""
    smoke_timeout: float = 60.0
    """Seconds for each of them."""
    learned: bool = False
    """The app file does not set `timeout`: it was derived from the durations of earlier starts."""

    @property
    def asks_http(self) -> bool:
        """True if each instance is probed over HTTP."""
        return self.probe is not None and bool(self.probe.http)

    @property
    def fail_after(self) -> int:
        """The number of wrong answers in a row that fail the gate; 0 for any number."""
        if self.probe is None:
            return 0
        return FAIL_AFTER if self.probe.fail_after is None else self.probe.fail_after

    @property
    def fail_span(self) -> float:
        """The time for which wrong answers must go on before they fail the gate.

        Commands have always been used to wait for something with, until they exit with the expected status. So by
        default they get half of the timeout; a learned one is four times as long as the slowest known start.
        """
        patient = self.probe is not None and self.probe.command and self.probe.fail_after is None
        return max(SPAN, self.timeout / 2) if patient else SPAN

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Gate:
        """Return the gate from which dataclasses.asdict and JSON made `raw`."""
        probe = raw["probe"]
        return cls(
            timeout=raw["timeout"],
            min_ready=raw["min_ready"],
            type=GateType(raw["type"]),
            probe=None if probe is None else Probe(**{**probe, "command": tuple(probe["command"])}),
            watchdog=raw["watchdog"],
            smoke=tuple(tuple(command) for command in raw.get("smoke", ())),
            smoke_timeout=raw.get("smoke_timeout", 60.0),
            learned=raw["learned"],
        )
