"""What a control loop works with: systemd, what is kept on disk, and who reads the journal for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from deployd.files.workers import Workers
from deployd.instances.commands import Commands
from deployd.plan.backoff import Patience
from deployd.rollout.hooks import Hooks
from deployd.routing.kernel import Kernel
from deployd.state.history import History
from deployd.state.pins import Pins
from deployd.systemd.manager import Systemd
from deployd.systemd.tail import ReadLines
from deployd.systemd.transient import Transient
from deployd.units.deployment import Deployment


@dataclass(frozen=True, slots=True)
class Host:
    """Shared by the controllers of all apps."""

    systemd: Systemd
    history: History
    pins: Pins
    deployment: Deployment
    tail: ReadLines
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
