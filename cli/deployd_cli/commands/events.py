"""deployd events: what happens to apps, as it happens."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import typer

from deployd_cli.options import APP_OR_ALL
from deployd_cli.output import show, show_json
from deployd_cli.text.event import dated_lines

if TYPE_CHECKING:
    from deployd.api import Client

JSON = typer.Option(False, "--json", help="Print one JSON object per event.")


def events(app: str = APP_OR_ALL, as_json: bool = JSON) -> None:
    """Print what happens to an app, or to all apps, until ^C. Changes nothing.

    Follows rollouts, crashes and the probation of generations, whatever has begun them, also across restarts of the
    daemon. What happened before is shown by history and logs.
    """
    from deployd_cli.session import run

    async def follow(client: Client) -> None:
        async for event in client.events(app):
            if as_json:
                show_json(event)
            else:
                show(dated_lines(event, datetime.now().astimezone()))

    run(follow)
