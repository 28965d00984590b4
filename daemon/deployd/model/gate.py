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


@dataclass(frozen=True, slots=True)
class Probe:
    """A check of an instance, over HTTP or by a command. Times in seconds.

    One of `http` and `command` is set.
    """

    http: str = ""
    """The path of the request, which is sent to the instance's private socket."""
    command: tuple[str, ...] = ()
    """An argv, run in the release as the app's user."""
    expect: int = 200
    """The HTTP status, or the exit status of the command."""
    interval: float = 0.25
    timeout: float = 2.0


@dataclass(frozen=True, slots=True)
class Gate:
    """The [gate] table. Times in seconds."""

    timeout: float = 60.0
    min_ready: float = 0.0
    type: GateType = GateType.NOTIFY
    probe: Probe | None = None
    learned: bool = False
    """The app file does not set `timeout`: it was derived from the durations of earlier starts."""

    @property
    def has_probe_socket(self) -> bool:
        """True if each instance has a private socket, on which it is probed over HTTP."""
        return self.probe is not None and bool(self.probe.http)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Gate:
        """Return the gate from which dataclasses.asdict and JSON made `raw`."""
        probe = raw["probe"]
        return cls(
            timeout=raw["timeout"],
            min_ready=raw["min_ready"],
            type=GateType(raw["type"]),
            probe=None if probe is None else Probe(**{**probe, "command": tuple(probe["command"])}),
            learned=raw["learned"],
        )
