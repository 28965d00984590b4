"""The figures about routing that `status` shows."""

from __future__ import annotations

from dataclasses import dataclass, field

from deployd.model.address import Address


@dataclass(frozen=True, slots=True)
class Share:
    """The weight of a generation as set and as measured, in percent of new connections."""

    generation: int
    asked: float
    seen: float | None
    """Since the weights were last set; None without connections."""
    connections: int
    """The connections that its present instances got since their sockets were opened."""


@dataclass(frozen=True, slots=True)
class Report:
    """By instance number. All but addresses and unreachable are empty if the app is not steered."""

    steering: str | None = None
    """ebpf, or none if the app should be steered and cannot be; None if it is not meant to be."""
    reason: str = ""
    """Why it is none."""
    weights: dict[int, float] = field(default_factory=dict)
    """In percent of new connections."""
    connections: dict[int, int] = field(default_factory=dict)
    """Open TCP connections, accepted or waiting."""
    queues: dict[int, int] = field(default_factory=dict)
    """TCP connections that wait to be accepted."""
    shares: tuple[Share, ...] = ()
    """Of each generation, newest first."""
    addresses: tuple[Address, ...] = ()
    unreachable: dict[int, str] = field(default_factory=dict)
    """Why clients do not reach an instance although its process is ready."""
