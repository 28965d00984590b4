"""What routing = "steered" asks of the rest of a file, and what in it needs that routing."""

from __future__ import annotations

from deployd.config.source import Table
from deployd.model.app import MOST_STEERED, App

_STEERED = 'routing = "steered"'


def refuse_what_cannot_be_steered(app: App, top: Table) -> None:
    """Raises InvalidFile: of an app that is steered, for what cannot be."""
    if app.instances > MOST_STEERED:
        raise top.fail(
            "instances",
            f"must be from 1 to {MOST_STEERED} with {_STEERED}, not {app.instances}, for the kernel's tables hold old"
            " and new instances together",
        )
    if any(key == "ReusePort" for key, _ in app.socket):
        raise top.table("socket").fail(
            "ReusePort", f"is set by deployd: with {_STEERED} the instances' sockets share their address; leave it out"
        )


def refuse_what_needs_steering(top: Table) -> None:
    """Raises InvalidFile: of an app that shares one socket, for keys that would do nothing."""
    alone = f"needs {_STEERED}: with one socket for all nobody chooses who gets a connection; set that, or remove this"
    for key in ("spill_over", "warm_up", "drain"):
        if key in top:
            raise top.fail(key, alone)
    rollout = top.table("rollout")
    for key in ("standby", "standby_memory"):
        if key in rollout:
            raise rollout.fail(
                key,
                f"needs {_STEERED}: on a shared socket connections would wait for instances that are frozen; set that,"
                " or remove this",
            )
