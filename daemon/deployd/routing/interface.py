"""What routing is told of an app, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deployd.model.app import App
from deployd.model.generation import Cause
from deployd.model.instance import Instance
from deployd.model.rollout import Rollout
from deployd.plan.routing import Policy, asked, preferred, shunned


@dataclass(frozen=True, slots=True)
class View:
    """The app as the control loop sees it."""

    instances: tuple[Instance, ...]
    settings: App
    rollout: Rollout | None = None
    """The one under way."""
    cause: Cause | None = None
    """Why it is."""
    prefer: int | None = None
    """A generation that stands first whatever the rollout says."""
    waiting: frozenset[int] = frozenset()
    """Instances that are ready and have yet to answer their probe: no connection is for them."""
    alike: Mapping[int, int] = field(default_factory=dict)
    """Generations whose instances are about to be adopted, and by which one."""

    def generation(self, item: Instance) -> int | None:
        """Whose share is the instance's?"""
        return None if item.generation is None else self.alike.get(item.generation, item.generation)

    def policy(self, serving: Mapping[int, int]) -> Policy:
        """What decides, with so many candidates of each generation."""
        prefer = self.prefer if self.prefer is not None else preferred(self.rollout)
        wanted = {} if self.prefer is not None else asked(self.rollout, self.settings.instances, serving)
        left = shunned(self.rollout, self.cause)
        return Policy(prefer, wanted, self.settings.spill_over, self.settings.warm_up, left)

    def at_once(self, policy: Policy) -> bool:
        """True if an instance must get no new connection as soon as there is another generation to get it: the bad
        ones of a rollback, and those that are to be drained or frozen."""
        settings = self.settings
        back = self.prefer is not None or policy.shunned is not None
        return back or settings.drain.close_after > 0 or settings.pace.standby > 0


@dataclass(frozen=True, slots=True)
class Share:
    """What a generation is to get of the new connections, and what it has got. In percent."""

    generation: int
    asked: float
    seen: float | None
    """Since the asked shares last changed; None as long as nobody came."""
    connections: int
    """That its present instances have got since their sockets were opened."""


@dataclass(frozen=True, slots=True)
class Report:
    """For `status`. All by instance number, and empty if the app is not steered."""

    steering: str | None = None
    """ebpf, or none if the app should be steered and cannot be; None if that was not asked for."""
    reason: str = ""
    """Why it is none."""
    weights: dict[int, float] = field(default_factory=dict)
    """Percent of new connections."""
    connections: dict[int, int] = field(default_factory=dict)
    """Open ones, accepted or waiting."""
    queues: dict[int, int] = field(default_factory=dict)
    """Waiting to be accepted."""
    shares: tuple[Share, ...] = ()
