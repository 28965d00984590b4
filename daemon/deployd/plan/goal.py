"""What a rollout is to reach, with every amount resolved to a count."""

from __future__ import annotations

from dataclasses import dataclass

from deployd.model.app import App, Order


@dataclass(frozen=True, slots=True)
class Goal:
    """`instances` instances of `generation`, and the pace to get there.

    Times are in seconds; `deadline` is CLOCK_MONOTONIC.
    """

    generation: int
    instances: int
    max_surge: int = 1
    max_unavailable: int = 0
    order: Order = Order.NEWEST_OLD_FIRST
    min_ready: float = 0.0
    same: frozenset[int] = frozenset()
    """Generations that start the very same process: their instances are adopted."""
    deadline: float | None = None
    """By when all of `instances` have to be available; taking old ones away may last longer."""
    proven: bool = False
    """The generation has served before (the way back, a scale): an instance that systemd had to restart is not
    held against it, and one that lies failed is started anew instead of being waited for."""

    avoid: frozenset[int] = frozenset()
    """Instance numbers that new instances must not get: their units hold the settings of an older generation."""

    @property
    def floor(self) -> int:
        """Instances that stay available all the way."""
        return max(0, self.instances - self.max_unavailable)

    @property
    def ceiling(self) -> int:
        """Instances that may be alive at once."""
        return self.instances + self.max_surge

    @classmethod
    def of(
        cls,
        app: App,
        generation: int,
        *,
        same: frozenset[int] = frozenset(),
        deadline: float | None = None,
        proven: bool = False,
    ) -> Goal:
        """From an app's settings. With neither surge nor unavailability nothing could ever move, so
        no surge means in place: one instance unavailable at a time."""
        surge = app.pace.max_surge.of(app.instances, round_up=True)
        unavailable = min(app.pace.max_unavailable.of(app.instances, round_up=False), app.instances)
        if surge == 0 and unavailable == 0:
            unavailable = 1
        return cls(
            generation=generation,
            instances=app.instances,
            max_surge=surge,
            max_unavailable=unavailable,
            order=app.pace.order,
            min_ready=app.gate.min_ready,
            same=same - {generation},
            deadline=deadline,
            proven=proven,
        )
