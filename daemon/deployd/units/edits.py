"""Changes of settings that open sockets cannot follow."""

from __future__ import annotations

from deployd.errors import Refused
from deployd.model import advice
from deployd.model.address import LONGEST_PATH, set_aside
from deployd.model.app import App, Routing
from deployd.plan.goal import Goal
from deployd.units.layout import Layout
from deployd.units.present import Present
from deployd.units.text import sockets


def refuse_edits(app: App, there: Present, wanted: Layout) -> None:
    """Raise Refused for settings of open sockets that have changed: systemd would close a socket whose unit is edited,
    and cannot open it again while the app is up (EBUSY)."""
    name = app.name
    if there.changes_routing(app):
        _refuse_routing(app, there)
    for socket in wanted.placement.kept:
        if sockets.settings(wanted.unit(socket.name).text) != sockets.settings(there.installed[socket.name]):
            raise Refused(
                f"[socket] of {name} changed: this version cannot change an open socket; put it back, or"
                f" {advice.deployd()} remove {name} and apply it again"
            )


def _refuse_routing(app: App, there: Present) -> None:
    # It may have been left out, and the machine has become able to steer.
    put_back = f'write routing = "{Routing.STEERED if there.has_steered_units else Routing.SHARED}"'
    instead = f"{put_back}, or {advice.deployd()} remove {app.name} and apply it again"
    if not there.steerable:
        raise Refused(
            f"routing of {app.name} changed: that takes steering, which this machine cannot do now; {instead}"
        )
    if app.unix and not Goal.of(app, 1).floor:
        raise Refused(
            f"routing of {app.name} changed: connections to its UNIX addresses would be lost, because no instance may"
            f" be left meanwhile (max_surge, max_unavailable, overlap); {instead}"
        )
    if there.has_steered_units:
        for path in map(set_aside, app.unix):
            if len(path.encode()) > LONGEST_PATH:
                raise Refused(
                    f"routing of {app.name} changed: that takes a socket at {path}, which is longer than {LONGEST_PATH}"
                    f" bytes, the limit for UNIX sockets; {instead}"
                )
