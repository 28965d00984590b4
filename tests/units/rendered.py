"""The rendered units of an app that tests install and verify."""

from __future__ import annotations

from deployd.model.app import App, Directives, Listen, ListenKind
from deployd.units.text import Unit, unit_files

NAMES = ["web.socket", "web.service", "web@.service"]


def rendered(backlog: str = "1", service: Directives = (), socket: Directives = ()) -> tuple[Unit, ...]:
    """Units of an app; all three differ when `backlog` does."""
    app = App(
        "web",
        "/srv/web",
        ("/bin/web",),
        (Listen(ListenKind.TCP, "127.0.0.1:80"),),
        service=(*service, ("LimitNOFILE", (backlog,))),
        socket=(*socket, ("Backlog", (backlog,))),
    )
    return unit_files(app, int(backlog), "/var/lib/deployd", "/bin/true")
