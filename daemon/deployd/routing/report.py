"""The figures about routing that `status` shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from deployd.model.address import Address
from deployd.model.app import Routing


class Choice(StrEnum):
    """Which instance of a group gets a new connection."""

    LEAST_BUSY = "least busy"
    IN_TURN = "in turn"
    """The kernel cannot count requests."""


@dataclass(frozen=True, slots=True)
class Share:
    """The weight of a generation as set and as measured, in percent of new connections."""

    generation: int
    asked: float | None
    """None if it is in one group with another generation, and the least busy instance of both gets a connection."""
    seen: float | None
    """Since the weights were last set; None without connections."""
    connections: int
    """The connections that its present instances got since their sockets were opened."""


@dataclass(frozen=True, slots=True)
class Report:
    """By instance number. All but addresses and unreachable are empty if the app is not steered."""

    routing: Routing = Routing.SHARED
    """STEERED if each instance has sockets of its own, NONE if the app has no listen."""
    steering: str | None = None
    """ebpf, or none if the app should be steered and cannot be; None if it is not meant to be."""
    choice: Choice | None = None
    """None unless the kernel chooses among instances."""
    reason: str = ""
    """Why it is none, or why the choice is in turn."""
    weights: dict[int, float] = field(default_factory=dict)
    """In percent of new connections, as long as all instances are equally busy."""
    connections: dict[int, int] = field(default_factory=dict)
    """Open TCP connections, accepted or waiting."""
    in_flight: dict[int, int] = field(default_factory=dict)
    """Connections on which a request waits for an answer."""
    stalled: dict[int, float] = field(default_factory=dict)
    """Instances that get no new connections as long as others answer: seconds since their last answer."""
    hanging: dict[int, str] = field(default_factory=dict)
    """What is wrong with instances that hang, as the end of a sentence."""
    queues: dict[int, int] = field(default_factory=dict)
    """TCP connections that wait to be accepted."""
    shares: tuple[Share, ...] = ()
    """Of each generation, newest first."""
    addresses: tuple[Address, ...] = ()
    unreachable: dict[int, str] = field(default_factory=dict)
    """Why clients do not reach an instance although its process is ready."""
