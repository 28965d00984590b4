"""What a control loop works with: systemd, what is kept on disk, and who reads the journal for it."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Protocol

from deployd.control.commands import Commands
from deployd.control.deployment import Deployment
from deployd.control.hooks import Hooks
from deployd.control.removal import Removal
from deployd.control.workers import Workers
from deployd.plan.backoff import Patience
from deployd.routing.kernel import Kernel
from deployd.state.history import History
from deployd.state.pins import Pins
from deployd.systemd.manager import Systemd
from deployd.systemd.transient import Transient


class Tail(Protocol):
    """Invocation ID to the last lines that it wrote; see systemd/tail.py. Never raises."""

    def __call__(
        self, invocation_id: str, unit: str = "", since: float | None = None
    ) -> Awaitable[tuple[str, ...]]: ...


@dataclass(frozen=True, slots=True)
class Host:
    """Shared by the controllers of all apps."""

    systemd: Systemd
    history: History
    pins: Pins
    deployment: Deployment
    removal: Removal
    tail: Tail
    hooks: Hooks
    transient: Transient
    commands: Commands
    kernel: Kernel
    """What it can do for apps that are steered."""
    workers: Workers = field(default_factory=Workers)
    """They look at files of apps."""
    generations: int = 200
    """So many of each app are remembered, the newest, and those that are needed."""
    patience: Patience = field(default_factory=Patience)
    """With instances that crash."""
