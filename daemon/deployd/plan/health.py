"""Whether an app is as it is meant to be: for `status`, its exit status, and the health unit. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum

from deployd.model.address import Address
from deployd.model.instance import Instance, State
from deployd.model.instances import Instances
from deployd.model.rollout import Pause, Rollout

_NEED_ATTENTION = frozenset({Pause.FAILED, Pause.BLOCKED, Pause.STRANDED})


class Health(StrEnum):
    """How many clients are served."""

    OK = "ok"
    """All instances serve clients at all addresses, or there is nothing to run."""
    DEGRADED = "degraded"
    """Some do, or a rollout has failed and waits for a decision."""
    DOWN = "down"
    STOPPED = "stopped"
    """The app as a whole is stopped."""


def health(desired: int, serving: int, addresses: Iterable[Address], rollout: Rollout | None, *, up: bool) -> Health:
    """Return the health of an app.

    `serving`: the instances that clients reach at one address at least; `up`: whether the app unit is up.
    """
    if not desired:
        return Health.OK
    if not up:
        return Health.STOPPED
    opened = {item.address: item.open for item in sorted(addresses, key=lambda item: item.open)}
    if not serving or (opened and not any(opened.values())):
        return Health.DOWN
    paused = rollout is not None and rollout.pause in _NEED_ATTENTION
    return Health.DEGRADED if serving < desired or not all(opened.values()) or paused else Health.OK


def serving(instances: Iterable[Instance], unreachable: Collection[int], addresses: Iterable[Address]) -> int:
    """Return how many instances clients reach at one address at least. While an address is closed all instances are
    `unreachable`, but clients of the others are served."""
    known = Instances.of(instances)
    served = known.serving()
    if not unreachable or not all(item.open for item in addresses):
        return served
    return served - sum(item.serves and item.number in unreachable for item in known)


def why_down(instances: Iterable[Instance], addresses: Iterable[Address]) -> str:
    """Return why an app is down: its first closed address, or the first instance that failed."""
    for address in addresses:
        if not address.open:
            return f"{address.address} is closed: {address.reason}"
    failed = next((item for item in instances if item.state is State.FAILED and item.detail), None)
    if failed is not None:
        return f"no instance is ready: {failed.number} {failed.detail}"
    deaf = next((item for item in instances if item.deaf), None)
    return "no instance is ready" if deaf is None else f"no instance serves: {deaf.number} {deaf.deaf}"
