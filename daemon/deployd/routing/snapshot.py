"""The state of an app, as far as routing depends on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from deployd.model.app import App
from deployd.model.generation import Cause
from deployd.model.instance import Instance, State
from deployd.model.rollout import Rollout
from deployd.plan.routing import Policy, asked, preferred, shunned


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The instances, settings and rollout of an app at one time."""

    instances: tuple[Instance, ...]
    settings: App
    rollout: Rollout | None = None
    """The rollout under way."""
    cause: Cause | None = None
    """The cause of its target."""
    prefer: int | None = None
    """A generation that comes first, independent of the rollout."""
    unanswered: frozenset[int] = frozenset()
    """Ready instances whose probe has not succeeded yet; they get no connections."""
    up: bool = True
    """True while the app unit is up: the app's addresses are to be open."""
    adopted_by: Mapping[int, int] = field(default_factory=dict)
    """Generations whose instances are about to be adopted, and the generation that adopts them."""

    def generation(self, item: Instance) -> int | None:
        """Return the generation for which the instance counts."""
        return None if item.generation is None else self.adopted_by.get(item.generation, item.generation)

    def generations(self, items: Iterable[Instance]) -> Counter[int]:
        """Return how many of these instances count for each generation."""
        found = Counter[int]()
        for generation, count in Counter(item.generation for item in items).items():
            if generation is not None:
                found[self.adopted_by.get(generation, generation)] += count
        return found

    @property
    def previewed(self) -> frozenset[int]:
        """Return the instances that no client must reach, whatever happens to the others."""
        hidden = self.rollout.previewed if self.rollout is not None else None
        if hidden is None:
            return frozenset()
        return frozenset(item.number for item in self.instances if self.generation(item) == hidden)

    @property
    def has_more_to_start(self) -> bool:
        """True if the rollout has instances yet to start, for which it takes the numbers of those that have stopped."""
        if self.rollout is None:
            return False
        started = [item for item in self.instances if item.is_up and self.generation(item) == self.rollout.goal]
        return len(started) < self.settings.instances

    def by_readiness(self, leaving: Collection[int]) -> list[int]:
        """Return the order in which instances get connections if none is ready: starting, then failed, newest
        generation first; connections wait there. Those that are `leaving` come after others like them."""
        rank = {State.READY: 0, State.STARTING: 1, State.FAILED: 2}
        hidden = self.previewed
        there = [item for item in self.instances if item.state in rank or item.generation]
        out = State.STANDBY, State.DRAINING
        there = [item for item in there if item.state not in out and item.number not in hidden]
        there.sort(key=lambda item: (rank.get(item.state, 3), item.number in leaving, -(item.generation or 0)))
        return [item.number for item in there]

    def policy(self, serving: Mapping[int, int]) -> Policy:
        """Return the policy. `serving`: the number of candidates of each generation."""
        prefer = self.prefer if self.prefer is not None else preferred(self.rollout)
        wanted = {} if self.prefer is not None else asked(self.rollout, self.settings.instances, serving)
        left = shunned(self.rollout, self.cause)
        if self.prefer is not None:  # these are the bad ones: the rollback is about to begin
            left |= serving.keys() - {self.prefer}
        return Policy(prefer, wanted, self.settings.warm_up, left)

    def at_once(self, policy: Policy) -> bool:
        """True if the preferred generation gets all new connections as soon as it serves: in a rollback, or because
        instances of the other one are to be drained or frozen."""
        settings = self.settings
        back = self.prefer is not None or bool(policy.shunned)
        return back or settings.drain.close_after > 0 or settings.pace.standby > 0

    @property
    def settle(self) -> float:
        """Return how long the clients of one instance may take to come back before those of the next are sent away; a
        rollback does not wait, because they get bad responses."""
        back = self.prefer is not None or bool(shunned(self.rollout, self.cause))
        return 0.0 if back else self.settings.drain.settle
