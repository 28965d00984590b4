"""deployd rollout, apply, rollback, restart, scale: each begins a new generation and waits for its rollout."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import typer

from deployd_cli.options import (
    APP,
    CANARY,
    FLEET,
    JSON_LINES,
    NO_BLOCK,
    PAST_IRREVERSIBLE,
    PREVIEW,
    PROCESS,
    RELEASE,
    SUPERSEDE,
    TOKEN,
    absolute,
    canary_of,
    fleet_request,
)

if TYPE_CHECKING:
    from deployd.api import Client
    from deployd_cli.waiting import Begin

NO_START = typer.Option(False, "--no-start", help="Install units without starting sockets or instances.")
RELOAD = typer.Option(False, "--reload", hidden=True, help="Used by ExecReload= of generated units.")
TO = typer.Option(
    0,
    "--to",
    min=1,
    metavar="GENERATION",
    help="Generation to roll back to instead of the last good one.",
    show_default=False,
)
INSTANCES = typer.Argument(
    ..., metavar="N|TYPE=N", help="New number of instances, of a process type if it is named.", show_default=False
)


def rollout(
    app: str = APP,
    release: str = RELEASE,
    canary: str = CANARY,
    preview: bool = PREVIEW,
    supersede: bool = SUPERSEDE,
    no_block: bool = NO_BLOCK,
    reload: bool = RELOAD,
    fleet: str = FLEET,
    token: int = TOKEN,
    as_json: bool = JSON_LINES,
) -> None:
    """Roll out a new generation.

    Uses the current app file, and the release of --release DIR if given. ^C does not stop the rollout.
    """
    first, cause, request = canary_of(canary), "reload" if reload else "", fleet_request(fleet, token)

    async def begin(client: Client) -> int:
        return await client.rollout(
            app,
            release=absolute(release),
            cause=cause,
            canary=first,
            preview=preview,
            supersede=supersede,
            fleet=request,
        )

    # systemctl reload would report an exit status other than 0 as a failure.
    again = request is not None
    _begin(app, begin, no_block, as_json, expect_restart=not (reload or again), may_have_ended=again)


def apply(
    app: str = APP,
    no_start: bool = NO_START,
    canary: str = CANARY,
    supersede: bool = SUPERSEDE,
    no_block: bool = NO_BLOCK,
    as_json: bool = JSON_LINES,
) -> None:
    """Deploy an app, or roll out changed settings.

    Installs units and starts sockets and instances; for a deployed app, rolls out changes of the app file.
    """
    first = canary_of(canary)

    async def begin(client: Client) -> int:
        if not as_json:
            await _show_changes(client, app)
        return await client.apply(app, start=not no_start, canary=first, supersede=supersede)

    _begin(app, begin, no_block, as_json)


def rollback(
    app: str = APP,
    to: int = TO,
    supersede: bool = SUPERSEDE,
    past_irreversible: bool = PAST_IRREVERSIBLE,
    no_block: bool = NO_BLOCK,
    fleet: str = FLEET,
    token: int = TOKEN,
    as_json: bool = JSON_LINES,
) -> None:
    """Roll back to an earlier generation.

    Rolls out the release and the settings of the last good generation, or of --to GENERATION, as a new generation.
    """

    request = fleet_request(fleet, token)

    async def begin(client: Client) -> int:
        return await client.rollback(app, to, supersede=supersede, past_irreversible=past_irreversible, fleet=request)

    _begin(app, begin, no_block, as_json, may_have_ended=request is not None)


def restart(
    app: str = APP,
    process: str = PROCESS,
    supersede: bool = SUPERSEDE,
    no_block: bool = NO_BLOCK,
    as_json: bool = JSON_LINES,
) -> None:
    """Replace every instance by a new one of the same release.

    With TYPE, only the instances of that process type.
    """
    _begin(app, lambda client: client.restart(app, process=process, supersede=supersede), no_block, as_json)


def scale(
    app: str = APP,
    instances: str = INSTANCES,
    supersede: bool = SUPERSEDE,
    no_block: bool = NO_BLOCK,
    as_json: bool = JSON_LINES,
) -> None:
    """Change the number of instances.

    With TYPE=N, that of a process type.
    """
    process, _, text = instances.rpartition("=")
    if not re.fullmatch("[0-9]{1,9}", text) or ("=" in instances and not process):
        raise typer.BadParameter(f"{instances!r} is neither a number nor TYPE=N, such as worker=3", param_hint="N")
    number = int(text)
    _begin(app, lambda client: client.scale(app, number, process=process, supersede=supersede), no_block, as_json)


async def _show_changes(client: Client, app: str) -> None:
    """Print what the app file changes, if the caller may read it."""
    from deployd.errors import DeploydError
    from deployd_cli.output import paint_for, show
    from deployd_cli.text.changes import change_lines

    try:
        found = await client.file_changes(app)
    except DeploydError:
        return  # the request itself says what is wrong
    if lines := change_lines(found, paint_for(sys.stdout)):
        show([f"{app}: the app file changes", *lines])


def _begin(
    app: str,
    begin: Begin,
    no_block: bool,
    as_json: bool,
    *,
    expect_restart: bool = False,
    may_have_ended: bool = False,
) -> None:
    from deployd_cli.waiting import carry_out

    carry_out(
        app,
        begin,
        wait=not no_block,
        as_json=as_json,
        expect_restart=expect_restart,
        may_have_ended=may_have_ended,
    )
