"""deployd health: a check plugin for monitoring systems."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import typer

from deployd.errors import DeploydError, Unreachable
from deployd.model import advice
from deployd_cli.chosen import Chosen
from deployd_cli.file_changes import file_changes
from deployd_cli.monitoring.plugin import document, plugin_lines, unknown_document, unknown_line
from deployd_cli.monitoring.verdict import State, Verdict, verdict, worst
from deployd_cli.options import APP_OR_ALL, JSON
from deployd_cli.output import show, show_json
from deployd_cli.text.words import dicts_of, text_of

if TYPE_CHECKING:
    from deployd.api import Client


SERVE = typer.Option(
    False, "--serve", help="Answer load balancers at the socket that systemd passes; see deployd-health.socket."
)


def health(app: str = APP_OR_ALL, serve: bool = SERVE, as_json: bool = JSON) -> None:
    """Print the state of each app like a Nagios plugin. Changes nothing."""
    if serve:
        from deployd_cli.monitoring import health_endpoint

        if app or as_json:
            raise typer.BadParameter("--serve takes neither an app nor --json")
        health_endpoint.serve()
        return
    from deployd_cli.session import run

    try:
        verdicts = run(lambda client: _verdicts(client, app))
    except DeploydError as error:
        if as_json:
            show_json(unknown_document(str(error)))
        else:
            show([unknown_line(str(error))])
        raise typer.Exit(State.UNKNOWN) from error
    if as_json:
        show_json(document(verdicts))
    else:
        show(plugin_lines(verdicts, single=bool(app)))
    raise typer.Exit(worst(verdicts))


async def _verdicts(client: Client, app: str) -> list[Verdict]:
    """Return the states of the apps. A check does not start a daemon that was stopped. Raises DeploydError."""
    if not await client.present():
        raise Unreachable(f"the daemon is not running; start it with: {advice.systemctl()} start deployd")
    statuses = [await client.status(app)] if app else dicts_of(await client.describe(), "apps")
    # The daemon answers few such questions of a user at a time.
    asks = bool(app) or (os.geteuid() == 0 or Chosen.scope.is_user)
    deployed = [text_of(item, "app") for item in statuses if asks and text_of(item, "generation")]
    found = dict(zip(deployed, await asyncio.gather(*(file_changes(client, name) for name in deployed)), strict=True))
    return [verdict(item, found.get(text_of(item, "app"), {})) for item in statuses]
