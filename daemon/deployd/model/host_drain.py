"""Drains of this host: while there is one, load balancers send new clients to other hosts."""

from __future__ import annotations

from dataclasses import dataclass

HOST = ""
"""Stands for the host as a whole where the name of an app is expected."""


@dataclass(frozen=True, slots=True)
class HostDrain:
    """The host, or one app on it, is drained until `deployd undrain`, also across reboots, or until a rollout ends."""

    app: str
    """HOST if the host is drained."""
    since: float
    """Seconds since the epoch, UTC."""
    reason: str = ""
    generation: int | None = None
    """The generation to which the rollout leads that drains the app; None if the drain was asked for."""


@dataclass(frozen=True, slots=True)
class RolloutDrain:
    """Which apps this host is drained of around each of their rollouts: `[host]` in deployd.toml."""

    apps: frozenset[str] | None = frozenset()
    """None for all apps."""
    wait: float = 5.0
    """Seconds that load balancers need to notice a drain, or its end."""

    def wait_for(self, app: str) -> float | None:
        """Return the wait of an app; None if its rollouts do not drain this host."""
        return self.wait if self.apps is None or app in self.apps else None
