"""deployd deploy: from an archive to a live release, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from deployd.errors import Refused, RolloutFailed
from deployd_cli.options import APP, SUPERSEDE
from deployd_cli.output import message, show_json
from deployd_cli.text.words import text_of

if TYPE_CHECKING:
    from deployd.api import Client
    from deployd_cli.delivery.placing import Placed

SOURCE = typer.Argument(..., metavar="SOURCE", help="A directory, a tar archive, or - for standard input.")
REVISION = typer.Option("", "--revision", metavar="REV", help="SOURCE is a git repository; deploy this revision.")
NAME = typer.Option("", "--id", metavar="ID", help="Name of the release; by default from its contents.")
RELEASES = typer.Option(
    "", "--releases", metavar="DIR", help="Directory of the releases; that of the live one if left out."
)
CURRENT = typer.Option("", "--current", metavar="LINK", help="Symbolic link to lead to the release once it is live.")
JSON = typer.Option(False, "--json", help="Print one JSON object at the end.")


def deploy(
    app: str = APP,
    source: str = SOURCE,
    revision: str = REVISION,
    name: str = NAME,
    releases: str = RELEASES,
    current: str = CURRENT,
    supersede: bool = SUPERSEDE,
    as_json: bool = JSON,
) -> None:
    """Unpack a release, roll it out, and wait for the end.

    For example: git archive HEAD | ssh web1 deployd deploy shop -
    """
    from deployd_cli import session
    from deployd_cli.delivery.placing import place, point

    directory = Path(releases).absolute() if releases else session.run(lambda client: _releases(client, app))
    placed = place(source, revision, directory, name)
    message(f"{app}: {placed.path} {'unpacked' if placed.new else 'is there already'}")
    try:
        _roll_out(app, placed, supersede=supersede, as_json=as_json)
    except RolloutFailed:
        message(f"{app}: {placed.path} is not in use; deployd releases {app} shows what else is not")
        raise
    if current:
        point(Path(current).absolute(), placed.path)
        message(f"{app}: {current} leads to it")


async def _releases(client: Client, app: str) -> Path:
    """Return the directory of the live release's siblings. Raises Refused if there is none."""
    live = text_of(await client.status(app), "release")
    if not live:
        raise Refused(
            f"{app} has no live release next to which this one could be; name their directory with --releases"
        )
    return Path(live).parent


def _roll_out(app: str, placed: Placed, *, supersede: bool, as_json: bool) -> None:
    """Roll the release out, showing it, or with one JSON object at its end. Raises RolloutFailed."""
    from deployd_cli.waiting import Receipt, carry_out

    async def begin(client: Client) -> int:
        return await client.rollout(app, release=str(placed.path), supersede=supersede)

    receipt = Receipt() if as_json else None
    try:
        carry_out(app, begin, wait=True, as_json=False, report=receipt)
    finally:
        if receipt is not None:
            keys = ("generation", "result", "reason", "duration", "replaced", "adopted")
            what = {"app": app, "release": str(placed.path), "sha256": placed.sha256, "new": placed.new}
            show_json(what | {key: receipt.last.get(key) for key in keys})
