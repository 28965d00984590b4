"""An app as its file describes it: validated, normalised, immutable."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from deployd.model.address import is_near
from deployd.model.delivery import Delivery
from deployd.model.gate import Gate
from deployd.model.pace import Pace
from deployd.model.timer import Timer

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
"""The name of an app, which is part of the names of its files and units."""


WEB = "web"
"""The name of the process type that the app file describes outside [process]."""

OTHERS = "+"
"""In the fingerprint of an app, what follows is that of its further process types."""

CAPTURED = "environment-"
"""The names of a generation's files with the contents of its environment files begin with this, then their number."""


class Routing(StrEnum):
    """How new connections reach the instances."""

    SHARED = "shared"
    """All instances accept connections from the same socket."""
    STEERED = "steered"
    """Each instance has a socket of its own, and the kernel gives each connection to the least busy instance."""
    NONE = "none"
    """The app listens on no address: it has no connections. Not a value for app files."""


ROUTES = (Routing.SHARED, Routing.STEERED)
"""The values of `routing` in app files."""


class Mode(StrEnum):
    """How the program of an instance gets its connections."""

    SOCKET = "socket"
    """It is passed the listening socket (sd_listen_fds(3))."""
    PORT = "port"
    """It listens on a loopback port of its own, and systemd-socket-proxyd(8) passes connections on to it."""


PORT = re.compile(r"\$(?:PORT\b|\{PORT\})")
"""What stands for the port of an instance in `exec`, in the mode PORT."""

MOST_STEERED = 500
"""The most instances of a steered app: during a rollout there may be twice as many, and the kernel's tables have room
for 1023."""


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
class StopSettings:
    """The [stop] table."""

    signal: str = "SIGTERM"
    timeout: float = 30.0
    """Seconds."""
    quiet: str = ""
    """The signal by which the main process is asked to begin nothing new, "" for none."""
    quiet_for: float = 10.0
    """Seconds between the two signals, at most: `signal` is not sent if the process has ended."""

    @property
    def longest(self) -> float:
        """The seconds that an instance may take to stop: what its main process leaves gets the timeout as well."""
        return (self.quiet_for if self.quiet else 0.0) + 2 * self.timeout


@dataclass(frozen=True, slots=True)
class Drain:
    """The [drain] table: how an instance that gets no new connections is stopped."""

    close_after: float = 0.0
    """Seconds for which open connections may last before the instance gets the signal to stop."""
    signal: str = ""
    """The signal that has the main process close its connections, "" for none."""
    command: tuple[str, ...] = ()
    """An argv that does so, run in the instance's release as the app's user."""
    settle: float = 5.0
    """Seconds that the clients of one instance get to come back before those of the next one lose their connections."""

    @property
    def gives_notice(self) -> bool:
        """True if the server is asked to have its clients leave."""
        return bool(self.signal or self.command)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Drain:
        """Return the settings from which dataclasses.asdict and JSON made `raw`."""
        return cls(**{**raw, "command": tuple(raw["command"])})


@dataclass(frozen=True, slots=True)
class Applied:
    """What the app file said when it was last applied of what a command may have replaced since."""

    release: str
    directory: str
    """The directory to which `release` led, or "" if it led to none."""
    instances: int


Directives = tuple[tuple[str, tuple[str, ...]], ...]
"""Unit directives as (key, values): a key with several values is written several times."""


@dataclass(frozen=True, slots=True)
class App:
    """An app file, read and validated. Everything but `name` comes from the file."""

    name: str
    release: str
    exec: tuple[str, ...]
    listen: tuple[Listen, ...]
    """Empty for an app that serves no clients, such as a worker that takes jobs from a queue."""
    instances: int = 1
    overlap: bool = True
    """New instances run alongside old ones. Otherwise no more than `instances` processes ever run at a time."""
    user: str | None = None
    group: str | None = None
    environment: tuple[tuple[str, str], ...] = ()
    environment_files: tuple[str, ...] = ()
    environment_contents: tuple[str, ...] = ()
    """The bytes of the environment files when the rollout started, in the order in which they are read, decoded as
    Latin-1. Empty in settings that were just parsed."""
    credentials: tuple[tuple[str, str], ...] = ()
    """The files of LoadCredential= that belong to the generation: paths, and digests of what they contained when the
    rollout started, "" for a missing one. Empty in settings that were just parsed."""
    gate: Gate = field(default_factory=Gate)
    pace: Pace = field(default_factory=Pace)
    stop: StopSettings = field(default_factory=StopSettings)
    service: Directives = ()
    socket: Directives = ()
    mode: Mode = Mode.SOCKET
    routing: Routing = Routing.SHARED
    routing_reason: str = ""
    """Why an app whose file leaves `routing` out is not steered; "" if it is, or if the file says so."""
    warm_up: float = 0.0
    """Steered only: seconds over which the weight of a new instance grows to its full value."""
    drain: Drain = field(default_factory=Drain)
    timers: tuple[Timer, ...] = ()
    applied: Applied | None = None
    """None in a file, and in a generation whose record was lost."""
    delivery: Delivery = field(default_factory=Delivery, compare=False)
    """Only of a file: it is no setting of a generation."""
    process: str = ""
    """The name of the process type if this is one of [process], which `name` ends with; "" for the app itself."""
    after: tuple[str, ...] = ()
    """Process types whose instances must all be new before the first of this one is replaced."""
    processes: tuple[App, ...] = ()
    """The further process types of an app, each with all its settings."""

    @property
    def members(self) -> tuple[App, ...]:
        """The app itself, then its further process types."""
        return (self, *self.processes)

    @property
    def application(self) -> str:
        """The name of the app that this is, or of which it is a process type."""
        return self.name.removesuffix(f".{self.process}") if self.process else self.name

    def without_overlap(self) -> App:
        """Return the app with the pace at which an instance is started only after another one has ended."""
        return dataclasses.replace(self, overlap=False, pace=self.pace.in_place())

    @property
    def has_tcp(self) -> bool:
        """True if the app listens on TCP addresses."""
        return any(item.kind is ListenKind.TCP for item in self.listen)

    @property
    def has_near_tcp(self) -> bool:
        """True if the app listens on a TCP address that the loopback device reaches: deployd uses no other network."""
        hosts = [item.address.rpartition(":")[0].strip("[]") for item in self.listen if item.kind is ListenKind.TCP]
        return any(not host or is_near(host) for host in hosts)

    def has_probe_socket(self, *, steered: bool) -> bool:
        """True if each instance has a private socket on which it is probed over HTTP. `steered`: it has listeners, of
        which the daemon can choose one."""
        return self.gate.asks_http and not (steered and self.has_near_tcp)

    @property
    def unix(self) -> tuple[str, ...]:
        """Return the UNIX addresses."""
        return tuple(item.address for item in self.listen if item.kind is ListenKind.UNIX)

    @property
    def has_unix(self) -> bool:
        """True if the app listens on UNIX sockets."""
        return bool(self.unix)

    @property
    def steered(self) -> bool:
        """True if each instance is to have a listening socket of its own."""
        return self.routing is Routing.STEERED

    @property
    def unix_only(self) -> bool:
        """True if the app listens on UNIX addresses and on no other."""
        return bool(self.listen) and all(item.kind is ListenKind.UNIX for item in self.listen)

    def of_timer(self, timer: Timer) -> App:
        """Return settings with which commands are run as those of the timer: its program, user, environment, limits."""
        return dataclasses.replace(
            self,
            exec=timer.exec,
            user=timer.user,
            group=timer.group,
            environment=timer.environment,
            stop=StopSettings(timer.stop_signal, timer.stop_timeout),
            service=timer.service,
            gate=Gate(),
            drain=Drain(),
            mode=Mode.SOCKET,
            processes=(),
            timers=(),
        )

    def with_learned(self, timeout: float) -> App:
        """Return the app with this gate timeout, in seconds, unless its file sets one.

        Settings that differ in a learned timeout only are compared this way: what was learned meanwhile is no change.
        """
        if not self.gate.learned:
            return self
        return dataclasses.replace(self, gate=dataclasses.replace(self.gate, timeout=timeout))

    def to_json(self) -> str:
        """Return the canonical text of the settings, which is stored with each generation."""
        settings = dataclasses.asdict(self)
        for member in (settings, *settings["processes"]):
            del member["delivery"]
        return json.dumps(settings, sort_keys=True, ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> App:
        """Return the app from its :meth:`to_json`."""
        return cls._from_dict(json.loads(text))

    @classmethod
    def _from_dict(cls, raw: Mapping[str, Any]) -> App:
        return cls(
            name=raw["name"],
            release=raw["release"],
            exec=tuple(raw["exec"]),
            listen=tuple(Listen(ListenKind(item["kind"]), item["address"]) for item in raw["listen"]),
            instances=raw["instances"],
            overlap=raw.get("overlap", True),
            user=raw["user"],
            group=raw["group"],
            environment=tuple((key, value) for key, value in raw["environment"]),
            environment_files=tuple(raw["environment_files"]),
            environment_contents=tuple(raw["environment_contents"]),
            credentials=tuple((path, digest) for path, digest in raw["credentials"]),
            gate=Gate.from_dict(raw["gate"]),
            pace=Pace.from_dict(raw["pace"]),
            stop=StopSettings(**raw["stop"]),
            service=tuple((key, tuple(values)) for key, values in raw["service"]),
            socket=tuple((key, tuple(values)) for key, values in raw["socket"]),
            mode=Mode(raw["mode"]),
            routing=Routing(raw["routing"]),
            routing_reason=raw["routing_reason"],
            warm_up=raw["warm_up"],
            drain=Drain.from_dict(raw["drain"]),
            timers=tuple(map(Timer.from_dict, raw.get("timers", ()))),
            applied=None if raw["applied"] is None else Applied(**raw["applied"]),
            process=raw.get("process", ""),
            after=tuple(raw.get("after", ())),
            processes=tuple(cls._from_dict(item) for item in raw.get("processes", ())),
        )

    def fingerprint(self, release_dir: str, contents: str = "") -> str:
        """Return a digest that is equal exactly for generations that start the same process.

        `contents` identifies the files in `release_dir`. Pace, stop, the number of instances and most of the gate are
        left out: they can change without a restart, so that such a generation adopts the running instances. Listening
        sockets are passed to a process when it starts; if they are steered, their settings belong to it as well.
        """
        parts = [
            release_dir,
            contents,
            [str(item.address) for item in self.listen],
            self.gate.asks_http,
            self.gate.type,
            self.mode,
            self.exec,
            self.user,
            self.group,
            self.environment,
            self.environment_files,
            self.environment_contents,
            self.credentials,
            self.service,
            self.socket if self.steered else None,
        ]
        return _digest(parts)


def combined(own: str, others: Iterable[tuple[str, str]]) -> str:
    """Return the fingerprint of an app from that of its own process and those of its further process types, by name.

    Whether instances are adopted depends on the first part alone, and whether a generation is bad on all of it.
    """
    others = sorted(others)
    return f"{own}{OTHERS}{_digest(others)}" if others else own


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
