"""Whether a rollout can begin with a preview, one new instance that no client reaches, and with smoke tests. Pure.

An instance of a steered app has listeners of its own, so the kernel can give it nothing. One that shares its socket
with others accepts from it as soon as it runs, and without the socket it would have to be restarted to be promoted.
"""

from __future__ import annotations

from deployd.errors import Refused
from deployd.model import advice
from deployd.model.app import App
from deployd.model.generation import Cause
from deployd.model.rollout import Hold


def preview(app: App, *, steers: bool = True) -> Hold:
    """Return the hold of a preview. `steers`: True if this machine supports the app's steering. Raises Refused."""
    if not app.overlap:
        raise Refused(f"{app.name} has overlap = false, so no preview can run alongside the old instances")
    if not app.listen:
        raise Refused(f"{app.name} has no listen, so a preview would have no address; use --canary 1")
    if not app.steered:
        why = f" ({app.routing_reason})" if app.routing_reason else ""
        raise Refused(
            f"the instances of {app.name} share one socket{why}: a new one accepts connections of clients as soon as it"
            ' runs, so it cannot be previewed; set routing = "steered", or use --canary 1'
        )
    if not steers:
        raise Refused(
            f"{app.name} cannot be steered here ({advice.deployd()} status {app.name} gives the reason), so no instance"
            " can be kept from clients; use --canary 1"
        )
    if not _has_address(app, steered=True):
        raise Refused(
            f"no address of {app.name} is one that the loopback device reaches, so a single instance cannot be reached;"
            ' add one to listen, such as "127.0.0.1:8080", or a probe with http, which has a socket of its own'
        )
    return Hold(1, canary=True, share=0.0, preview=True, address=True)


def smoke_hold(
    app: App, cause: Cause, *, replaces: bool, adopts: bool, steers: bool = True, of_user: bool = False
) -> Hold | None:
    """Return the hold at which the smoke tests run, None if there are none or nothing is to be tested.

    `replaces`: there is an older generation that serves. `adopts`: it starts the same process. `of_user`: the app is
    one of a user, whose service manager cannot have a private address. There are no tests in a rollback, which leads to
    a generation that was good before and must be quick, nor where no process is new.
    """
    kept = cause is Cause.SCALE or (adopts and cause is not Cause.RESTART)
    if not app.gate.smoke or cause.rolls_back or kept:
        return None
    canary = replaces and app.pace.max_surge.value > 0 and app.overlap
    # In place of the only instance, one that no client reaches would leave nothing that serves.
    steered = app.steered and steers
    address = not (of_user or app.process) and _has_address(app, steered=steered)
    private = replaces and (canary or app.instances > 1) and steered and address
    return Hold(1, canary=canary, share=0.0 if private else None, preview=private, address=address, smoke=True)


def _has_address(app: App, *, steered: bool) -> bool:
    """True if a single instance can be reached: the kernel can be made to choose it, or it has a socket for probes."""
    return (steered and app.has_near_tcp) or app.has_probe_socket(steered=steered)
