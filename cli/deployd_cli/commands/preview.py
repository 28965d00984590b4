"""deployd preview: where the new instance of a rollout is reached that no client reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from deployd_cli.options import APP, JSON
from deployd_cli.output import show, show_json

if TYPE_CHECKING:
    from deployd.api import Client

RELAY = typer.Option(False, "--relay", hidden=True, help="Used by ExecStart= of the unit APP:preview.service.")


def preview(app: str = APP, as_json: bool = JSON, relay: bool = RELAY) -> None:
    """Show how to reach the preview of a rollout. Changes nothing.

    rollout --preview waits with one new instance that no client reaches. Its address is a UNIX socket, which root, the
    user of the app and the members of preview_group may use.
    """
    from deployd.errors import Refused
    from deployd.model import advice
    from deployd_cli.session import run
    from deployd_cli.text.preview import preview_lines, preview_of

    if relay:
        _relay(app)
        return

    async def ask(client: Client) -> dict[str, Any]:
        return await client.status(app)

    found = preview_of(run(ask))
    if as_json:
        show_json({"app": app, "preview": found})
        return
    if found is None:
        raise Refused(f"{app} has no preview; begin one with: {advice.deployd()} rollout {app} --preview")
    show(preview_lines(app, found))


def _relay(app: str) -> None:
    from deployd_cli.preview_relay import Relay
    from deployd_cli.session import run

    run(lambda client: Relay(client, app).run())
