"""Whether a rollout that a driver of several hosts requests is new, known, or overtaken by a newer one."""

from __future__ import annotations

from collections.abc import Sequence

from deployd.errors import Refused
from deployd.model.fleet import FleetRequest
from deployd.model.generation import Entry


def highest(generations: Sequence[Entry]) -> Entry | None:
    """Return the generation with the highest token that was accepted, the newest of several; None if there is none."""
    return max((item for item in generations if item.token), key=lambda item: (item.token, item.number), default=None)


def made(generations: Sequence[Entry], request: FleetRequest, release: str | None = None) -> Entry | None:
    """Return the generation that the same request made before, or None if the request is new.

    `generations` are all of the app; `release` is the directory that is requested now, None if that is not known.
    Raises Refused if a newer request was accepted, or if the ID belongs to a rollout of another release.
    """
    last = highest(generations)
    if last is not None and request.token < last.token:
        raise Refused(
            f"the token {request.token} is lower than {last.token}, which {last.app} has accepted with {last.fleet}: a"
            " newer rollout of the fleet has begun"
        )
    same = (item for item in generations if item.fleet == request.fleet)
    known = max(same, key=lambda item: item.number, default=None)
    if known is None:
        if last is not None and request.token == last.token:
            raise Refused(
                f"the token {request.token} is that of {last.fleet}; each rollout of a fleet needs a higher one"
            )
        return None
    if release is not None and known.release != release:
        raise Refused(f"{request.fleet} is a rollout of {known.release}; a rollout of {release} needs another ID")
    return known
