"""An app as its file describes it: validated, normalised, immutable."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
"""Of an app: it is in names of files and units."""


class Order(StrEnum):
    """Which old instance is stopped first."""

    NEWEST_OLD_FIRST = "newest-old-first"
    OLDEST_FIRST = "oldest-first"


class OnFailure(StrEnum):
    """What a failed gate leads to."""

    ROLLBACK = "rollback"
    PAUSE = "pause"


class Routing(StrEnum):
    """How new connections reach the instances."""

    SHARED = "shared"
    """One socket, that all of them accept from."""
    STEERED = "steered"
    """A socket for each; the kernel gives each its share."""


MOST_STEERED = 500
"""Instances of a steered app: old and new ones stand side by side, and the kernel's tables have room for 1023."""


class ListenKind(StrEnum):
    TCP = "tcp"
    UNIX = "unix"


@dataclass(frozen=True, slots=True)
class Listen:
    """One listening address, as systemd's ListenStream= takes it (systemd.socket(5))."""

    kind: ListenKind
    address: str
    """Normalised: ``8080``, ``127.0.0.1:8080``, ``[::1]:8080`` or ``/run/app.sock``."""


@dataclass(frozen=True, slots=True)
class Amount:
    """A count (``4``) or a share of `instances` (``25%``)."""

    value: int
    percent: bool = False

    def of(self, total: int, *, round_up: bool) -> int:
        """As a count of instances; Kubernetes rounds surge up and unavailable down, and so do we."""
        if not self.percent:
            return self.value
        whole, rest = divmod(self.value * total, 100)
        return whole + 1 if rest and round_up else whole

    def __str__(self) -> str:
        return f"{self.value}%" if self.percent else str(self.value)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes, or a share of the memory that is available (MemAvailable of proc_meminfo(5))."""

    value: int
    percent: bool = False

    def of(self, available: int) -> int:
        """In bytes, where so many are available."""
        return self.value * available // 100 if self.percent else self.value

    def __str__(self) -> str:
        return f"{self.value}%" if self.percent else str(self.value)


class GateType(StrEnum):
    """What makes an instance's unit active."""

    NOTIFY = "notify"
    """READY=1 of sd_notify(3)."""
    EXEC = "exec"
    """That the program was executed, for programs that cannot notify; a probe has to tell the rest."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A question that an instance has to answer well: over HTTP, or by a command. Times in seconds.

    One of `http` and `command` is set.
    """

    http: str = ""
    """The path that is asked for, on the instance's private socket."""
    command: tuple[str, ...] = ()
    """An argv, run in the release as the app's user."""
    expect: int = 200
    """The HTTP status, or the exit status of the command."""
    interval: float = 0.25
    timeout: float = 2.0


@dataclass(frozen=True, slots=True)
class Gate:
    """When an instance counts as ready. Times in seconds."""

    timeout: float = 60.0
    min_ready: float = 0.0
    type: GateType = GateType.NOTIFY
    probe: Probe | None = None
    learned: bool = False
    """The file leaves `timeout` out: it was derived from the app's past boots."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Commands around a rollout, each an argv, run in the new release as the app's user.

    The timeout is in seconds, for each command.
    """

    before: tuple[tuple[str, ...], ...] = ()
    after: tuple[tuple[str, ...], ...] = ()
    timeout: float = 600.0


@dataclass(frozen=True, slots=True)
class Analysis:
    """A command that says whether a rollout is well, asked again and again while it goes on. Times in seconds."""

    command: tuple[str, ...]
    """An argv, run in the new release as the app's user."""
    interval: float = 10.0
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Pace:
    """The [rollout] table. Times in seconds."""

    max_surge: Amount = Amount(1)
    max_unavailable: Amount = Amount(0)
    order: Order = Order.NEWEST_OLD_FIRST
    on_failure: OnFailure = OnFailure.ROLLBACK
    deadline: float = 1800.0
    """The longest time without progress: an instance that passes, and each resume, starts it anew."""
    pause_after: tuple[Amount, ...] = ()
    """New instances after which the rollout waits for a resume."""
    irreversible: bool = False
    """What this generation changes cannot be undone by going back: a failure pauses instead."""
    hooks: Hooks = Hooks()
    standby: float = 0.0
    """How long the instances that a rollout replaced stay, frozen, for a quick way back."""
    standby_memory: Memory = Memory(50, percent=True)
    """How much memory they may keep."""
    analysis: Analysis | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """The [stop] table. Timeout in seconds."""

    signal: str = "SIGTERM"
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Drain:
    """The [drain] table: how an instance that gets no new connections is taken away. Times in seconds."""

    close_after: float = 0.0
    """How long the connections that it has may last before it is told to stop."""


Directives = tuple[tuple[str, tuple[str, ...]], ...]
"""Unit directives as (key, values): a key with several values is written several times."""


@dataclass(frozen=True, slots=True)
class App:
    """An app file, read and validated. Everything but `name` comes from the file."""

    name: str
    release: str
    exec: tuple[str, ...]
    listen: tuple[Listen, ...]
    instances: int = 1
    user: str | None = None
    group: str | None = None
    environment: tuple[tuple[str, str], ...] = ()
    environment_files: tuple[str, ...] = ()
    gate: Gate = field(default_factory=Gate)
    pace: Pace = field(default_factory=Pace)
    stop: Stop = field(default_factory=Stop)
    service: Directives = ()
    socket: Directives = ()
    routing: Routing = Routing.SHARED
    spill_over: int = 16
    """Connections that may wait for an instance before those of an older generation help (steered)."""
    warm_up: float = 0.0
    """Seconds over which the share of a new instance grows to the whole (steered)."""
    drain: Drain = field(default_factory=Drain)
    hardened: bool = False
    """Whether the instances have what `render.hardening` takes away from them by default. Generations of a deployd that
    knew nothing of it do not, and keep starting as they did."""

    @property
    def steered(self) -> bool:
        """Has each instance a socket of its own?"""
        return self.routing is Routing.STEERED

    def with_learned(self, timeout: float) -> App:
        """With this gate timeout, in seconds, if the file leaves it out.

        Two settings that are equal with the same one are the same settings: what was learned meanwhile is no change.
        """
        if not self.gate.learned:
            return self
        return dataclasses.replace(self, gate=dataclasses.replace(self.gate, timeout=timeout))

    def with_defaults_of(self, other: App) -> App:
        """With what the file leaves out as `other` has it: other defaults of a newer deployd are no change."""
        return dataclasses.replace(self.with_learned(other.gate.timeout), hardened=other.hardened)

    def to_json(self) -> str:
        """Canonical text of the settings, kept with each generation."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> App:
        """The inverse of :meth:`to_json`. What an older deployd did not know has its default."""
        raw: dict[str, Any] = json.loads(text)
        pace, gate = raw["pace"], raw["gate"]
        hooks = pace["hooks"]
        return cls(
            name=raw["name"],
            release=raw["release"],
            exec=tuple(raw["exec"]),
            listen=tuple(Listen(ListenKind(item["kind"]), item["address"]) for item in raw["listen"]),
            instances=raw["instances"],
            user=raw["user"],
            group=raw["group"],
            environment=tuple((key, value) for key, value in raw["environment"]),
            environment_files=tuple(raw["environment_files"]),
            gate=Gate(
                timeout=gate["timeout"],
                min_ready=gate["min_ready"],
                type=GateType(gate["type"]),
                probe=_probe(gate["probe"]),
                learned=gate["learned"],
            ),
            pace=Pace(
                max_surge=Amount(**pace["max_surge"]),
                max_unavailable=Amount(**pace["max_unavailable"]),
                order=Order(pace["order"]),
                on_failure=OnFailure(pace["on_failure"]),
                deadline=pace["deadline"],
                pause_after=tuple(Amount(**item) for item in pace["pause_after"]),
                irreversible=pace["irreversible"],
                hooks=Hooks(
                    before=tuple(tuple(command) for command in hooks["before"]),
                    after=tuple(tuple(command) for command in hooks["after"]),
                    timeout=hooks["timeout"],
                ),
                standby=pace.get("standby", Pace().standby),
                standby_memory=Memory(**pace["standby_memory"]) if "standby_memory" in pace else Pace().standby_memory,
                analysis=_analysis(pace.get("analysis")),
            ),
            stop=Stop(**raw["stop"]),
            service=tuple((key, tuple(values)) for key, values in raw["service"]),
            socket=tuple((key, tuple(values)) for key, values in raw["socket"]),
            routing=Routing(raw.get("routing", Routing.SHARED)),
            spill_over=raw.get("spill_over", 16),
            warm_up=raw.get("warm_up", 0.0),
            drain=Drain(**raw.get("drain", {})),
            hardened=raw.get("hardened", False),
        )

    def fingerprint(self, release_dir: str, contents: str = "") -> str:
        """Equal exactly when two generations start the same process. `contents` stands for what the directory holds.

        Pace, stop, the number of instances and most of the gate are left out: changing them needs no restart,
        so such a generation adopts what runs. Listening sockets are a process's own from its start; when they are
        steered, so are their settings.
        """
        parts: list[object] = [
            release_dir,
            contents,
            [str(item.address) for item in self.listen],
            bool(self.gate.probe and self.gate.probe.http),
            self.gate.type,
            self.exec,
            self.user,
            self.group,
            self.environment,
            self.environment_files,
            self.service,
        ]
        if self.steered:  # only then: what was written down by a deployd that knew no routing stays the same
            parts += [self.routing, self.socket]
        if self.hardened:  # the same
            parts.append("hardened")
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _probe(raw: dict[str, Any] | None) -> Probe | None:
    return None if raw is None else Probe(**{**raw, "command": tuple(raw["command"])})


def _analysis(raw: dict[str, Any] | None) -> Analysis | None:
    return None if raw is None else Analysis(**{**raw, "command": tuple(raw["command"])})
