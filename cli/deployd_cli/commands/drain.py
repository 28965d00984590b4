"""deployd drain, undrain: whether load balancers send clients to this host, or to one app on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from deployd.model import advice
from deployd_cli.options import APP_OR_HOST, seconds
from deployd_cli.output import message

if TYPE_CHECKING:
    from deployd.api import Client

REASON = typer.Option("", "--reason", metavar="TEXT", help="Shown by status.", show_default=False)
DRAIN_WAIT = typer.Option(
    "",
    "--drain-wait",
    metavar="TIME",
    help="Return after this time, in which load balancers notice it; examples: 15s, 1min.",
    show_default=False,
)


def drain(app: str = APP_OR_HOST, reason: str = REASON, drain_wait: str = DRAIN_WAIT) -> None:
    """Have load balancers send clients to other hosts.

    It lasts until undrain. Nothing is stopped: the health endpoint (deployd-health.socket) answers 503, and a file
    for static checks is removed. Clients that come nevertheless are served as before.
    """
    from deployd_cli.session import run

    patience = seconds(drain_wait, "--drain-wait") if drain_wait else 0.0

    async def call(client: Client) -> None:
        await client.drain(app, reason=reason)
        if patience:
            message(f"{_what(app)} drained; waiting {drain_wait} until load balancers have noticed")
            await asyncio.sleep(patience)  # no load balancer says that it has noticed

    run(call)
    message(f"{_what(app)} drained; end it with: {advice.deployd()} undrain{f' {app}' if app else ''}")


def undrain(app: str = APP_OR_HOST) -> None:
    """Have load balancers send clients to this host again.

    Without an app, the drain of the host ends; apps that were drained on their own stay so.
    """
    from deployd_cli.session import run

    run(lambda client: client.undrain(app))
    message(f"{_what(app)} not drained any more")


def _what(app: str) -> str:
    return f"{app} is" if app else "this host is"
