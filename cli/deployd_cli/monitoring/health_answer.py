"""What the health endpoint answers to a load balancer. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

METHODS = ("GET", "HEAD", "OPTIONS")
"""OPTIONS is what HAProxy's `option httpchk` sends by default."""

_PATH = re.compile(r"/(?:([A-Za-z0-9][A-Za-z0-9_.-]{0,62})/?)?")
_NOT_SERVED = ("down", "stopped")
"""The `health` of a status of an app whose clients get no answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: HTTPStatus
    text: str
    """One line without its end; the body."""


UP = Answer(HTTPStatus.OK, "up")
DRAINED = Answer(HTTPStatus.SERVICE_UNAVAILABLE, "drained")
UNKNOWN = Answer(HTTPStatus.NOT_FOUND, "no such app")


def app_of(path: str) -> str | None:
    """Return the app that a path of a request asks about, "" for the host; None if it asks about neither."""
    found = _PATH.fullmatch(path)
    return None if found is None else found[1] or ""


def of_host(up: bool) -> Answer:
    """Return the answer about the host, which says nothing of its apps: one that is down is no reason to take the
    others away from their clients."""
    return UP if up else DRAINED


def of_app(up: bool, status: Mapping[str, Any] | None) -> Answer:
    """Return the answer about an app. `up` is false if it or the host is drained, or if it is not deployed.

    `status` is None if the daemon does not answer. Apps do not need it, so nothing follows from that.
    """
    if not up:
        return DRAINED
    health = None if status is None else status.get("health")
    if health in _NOT_SERVED:
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, str(health))
    return UP
