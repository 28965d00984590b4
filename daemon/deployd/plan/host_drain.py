"""When a rollout has load balancers send clients to other hosts, and when it waits until they have noticed. Pure.

- Before its first action, the host is drained of the app; nothing is started or stopped until the wait has passed.
- Once nothing is left to be done, the drain ends. A rollout that has succeeded ends after another wait, so that the
  next host is not drained while load balancers still take this one for drained.
- A pause ends the drain, too: a canary is judged by its clients. The rollout drains again when it is resumed.
- A rollback drains nothing and waits for nothing, and a first deployment has no clients yet.

Nothing is stored but the drain: each step follows from the rollout and from that. Times are in CLOCK_MONOTONIC seconds,
as the daemon has seen them, so a daemon that was restarted waits anew before it acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from deployd.model.generation import Cause
from deployd.model.rollout import Phase, Rollout


class Step(StrEnum):
    """What is done about the drain before the rollout continues."""

    GO = "go"
    """Nothing; the rollout continues."""
    DRAIN = "drain"
    WAIT = "wait"
    """Load balancers have yet to notice a drain, or its end."""
    UNDRAIN = "undrain"


@dataclass(frozen=True, slots=True)
class View:
    """An app with its rollout, at one moment."""

    rollout: Rollout | None
    cause: Cause | None = None
    """That of the generation that the rollout makes."""
    acts: bool = False
    """True if the rollout is about to start or stop an instance."""
    settled: bool = False
    """True if nothing is left to be done before it ends."""
    drained: float | None = None
    """When the app was drained for its rollout, or was first seen to be; None if it is not."""
    returned: float | None = None
    """When the drain of this rollout has ended; None if that was not seen."""

    @property
    def may_drain(self) -> bool:
        """True if the rollout replaces a generation that has clients by another one."""
        rollout = self.rollout
        if rollout is None or rollout.origin is None or rollout.phase is not Phase.ROLLING:
            return False
        return self.cause is not Cause.SCALE and not (self.cause is not None and self.cause.rolls_back)


def step(view: View, wait: float | None, now: float) -> Step:
    """Return the next step. `wait` is in seconds; None if this host is not drained for rollouts of the app."""
    rollout = view.rollout
    over = rollout is None or rollout.phase is Phase.PAUSED or view.settled
    if view.drained is not None and over:
        return Step.UNDRAIN
    if wait is None or not view.may_drain:
        return Step.GO
    if view.settled:
        return Step.WAIT if is_short(view.returned, wait, now) else Step.GO
    if not view.acts:
        return Step.GO
    if view.drained is None:
        return Step.DRAIN
    return Step.WAIT if is_short(view.drained, wait, now) else Step.GO


def is_short(since: float | None, wait: float, now: float) -> bool:
    """True if less than `wait` seconds have passed since then."""
    return since is not None and now < since + wait
