"""deployd rollout, apply, rollback, restart, scale: each begins a new generation, and all wait for it alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from deployd_cli.options import (
    APP,
    CANARY,
    JSON_LINES,
    NO_BLOCK,
    PAST_IRREVERSIBLE,
    RELEASE,
    SUPERSEDE,
    absolute,
    canary_of,
)

if TYPE_CHECKING:
    from deployd.api import Client
    from deployd_cli.waiting import Begin

NO_START = typer.Option(False, "--no-start", help="Install units, but start neither sockets nor instances.")
RELOAD = typer.Option(False, "--reload", hidden=True, help="The generated units' ExecReload= asks.")
TO = typer.Option(
    0, "--to", min=1, metavar="GENERATION", help="This one instead of the last good one.", show_default=False
)
INSTANCES = typer.Argument(..., metavar="N", min=0, help="How many instances from now on.", show_default=False)


def rollout(
    app: str = APP,
    release: str = RELEASE,
    canary: str = CANARY,
    supersede: bool = SUPERSEDE,
    no_block: bool = NO_BLOCK,
    reload: bool = RELOAD,
    as_json: bool = JSON_LINES,
) -> None:
    """Roll out a new generation.

    It is what the app file says now, with --release DIR in place of its release. ^C does not stop it.
    """
    first, cause = canary_of(canary), "reload" if reload else ""

    async def begin(client: Client) -> int:
        return await client.rollout(app, release=absolute(release), cause=cause, canary=first, supersede=supersede)

    _begin(app, begin, no_block, as_json)


def apply(
    app: str = APP,
    no_start: bool = NO_START,
    canary: str = CANARY,
    supersede: bool = SUPERSEDE,
    no_block: bool = NO_BLOCK,
    as_json: bool = JSON_LINES,
) -> None:
    """Start the app, or roll out changed settings.

    Installs its units, then starts its sockets and instances; later, rolls out what has changed in the app file.
    """
    first = canary_of(canary)

    async def begin(client: Client) -> int:
        return await client.apply(app, start=not no_start, canary=first, supersede=supersede)

    _begin(app, begin, no_block, as_json)


def rollback(
    app: str = APP,
    to: int = TO,
    supersede: bool = SUPERSEDE,
    past_irreversible: bool = PAST_IRREVERSIBLE,
    no_block: bool = NO_BLOCK,
    as_json: bool = JSON_LINES,
) -> None:
    """Roll out an earlier generation again.

    Its release and its settings become a new generation: those of the last good one, or of --to GENERATION.
    """

    async def begin(client: Client) -> int:
        return await client.rollback(app, to, supersede=supersede, past_irreversible=past_irreversible)

    _begin(app, begin, no_block, as_json)


def restart(app: str = APP, supersede: bool = SUPERSEDE, no_block: bool = NO_BLOCK, as_json: bool = JSON_LINES) -> None:
    """Replace every instance by a fresh one, one by one."""
    _begin(app, lambda client: client.restart(app, supersede=supersede), no_block, as_json)


def scale(
    app: str = APP,
    instances: int = INSTANCES,
    supersede: bool = SUPERSEDE,
    no_block: bool = NO_BLOCK,
    as_json: bool = JSON_LINES,
) -> None:
    """Run another number of instances."""
    _begin(app, lambda client: client.scale(app, instances, supersede=supersede), no_block, as_json)


def _begin(app: str, begin: Begin, no_block: bool, as_json: bool) -> None:
    from deployd_cli.waiting import carry_out

    carry_out(app, begin, wait=not no_block, as_json=as_json)
