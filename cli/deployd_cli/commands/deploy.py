"""deployd deploy: from an archive to a live release, in one command."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from deployd.errors import RolloutFailed
from deployd_cli.options import APP, FLEET, SUPERSEDE, TOKEN, absolute, fleet_request
from deployd_cli.output import message, quote, show_json
from deployd_cli.text.words import text_of

if TYPE_CHECKING:
    from deployd.api import Client
    from deployd.model.fleet import FleetRequest
    from deployd_cli.delivery.target import Target

SOURCE = typer.Argument(..., metavar="SOURCE", help="A directory, a tar archive, or - for standard input.")
REVISION = typer.Option("", "--revision", metavar="REV", help="SOURCE is a git repository; deploy this revision.")
NAME = typer.Option("", "--id", metavar="ID", help="Name of the release; by default from its contents.")
RELEASES = typer.Option(
    "",
    "--releases",
    metavar="DIR",
    help="Directory of the releases; that of the app file or of the live one by default.",
)
CURRENT = typer.Option("", "--current", metavar="LINK", help="Symbolic link to lead to the release once it is live.")
JSON = typer.Option(False, "--json", help="Print one JSON object at the end.")

ROLLED_OUT = ("generation", "result", "reason", "duration", "replaced", "adopted")
"""What the receipt has of the event that ends the rollout."""


def deploy(
    app: str = APP,
    source: str = SOURCE,
    revision: str = REVISION,
    name: str = NAME,
    releases: str = RELEASES,
    current: str = CURRENT,
    supersede: bool = SUPERSEDE,
    fleet: str = FLEET,
    token: int = TOKEN,
    as_json: bool = JSON,
) -> None:
    """Unpack a release, roll it out, and wait for the end.

    For example: git archive HEAD | ssh web1 deployd deploy shop -
    """
    from deployd_cli import session

    request = fleet_request(fleet, token)
    target = session.run(lambda client: _target(client, app, absolute(releases), absolute(current)))
    receipt: dict[str, Any] = {"app": app}
    try:
        release = _place(target, source, revision, name, receipt)
        _roll_out(target, release, receipt, supersede=supersede, request=request, as_json=as_json)
        _conclude(target, release, receipt)
    finally:
        if as_json and len(receipt) > 1:
            show_json(receipt)


async def _target(client: Client, app: str, releases: str, current: str) -> Target:
    """Return where the release goes. Raises Refused if that is not known."""
    from deployd_cli.delivery.target import Target

    settings = await client.deploy_settings(app)
    live = "" if releases or settings.get("releases") else text_of(await client.status(app), "release")
    return Target.of(settings, live, releases=releases, current=current)


def _place(target: Target, source: str, revision: str, name: str, receipt: dict[str, Any]) -> Path:
    """Have the release in its place, and begin the receipt. Raises Refused, BuildFailed and DeploydError."""
    from deployd_cli.delivery.building import BuildFailed
    from deployd_cli.delivery.links import require_targets
    from deployd_cli.delivery.placing import place

    require_targets(target.shared, target.user)
    if target.assets is not None:
        target.assets.require_own()
    try:
        build = partial(_build, target.app) if target.builds else None
        placed = place(source, revision, target.releases, name, target.shared, build)
    except BuildFailed as error:
        receipt |= {"id": error.release.name, "release": str(error.release), "new": False, "build": error.receipt}
        receipt |= dict.fromkeys(ROLLED_OUT)
        raise
    receipt |= {"id": placed.path.name, "release": str(placed.path), "sha256": placed.sha256, "new": placed.new}
    receipt["build"] = placed.build
    receipt |= {
        "links": [link.path for link in target.shared if placed.new],
        "assets": None,
        "current": None,
        "pruned": [],
    }
    receipt |= dict.fromkeys(ROLLED_OUT)
    how = "is there already" if not placed.new else "unpacked" if placed.build is None else "built"
    message(f"{target.app}: {placed.path} {how}")
    if target.assets is not None:
        added = target.assets.merge(placed.path)
        receipt["assets"] = {"directory": str(target.assets.directory), "added": added, "removed": 0}
    return placed.path


def _build(app: str, unpacked: Path, built: Path, release: Path) -> dict[str, Any]:
    """Have the daemon build the release, and show the output of that. Raises BuildFailed and DeploydError."""
    from deployd_cli import session
    from deployd_cli.delivery.building import build

    def run(path: str, stdin: int, stdout: int, stderr: int) -> Mapping[str, Any]:
        return session.run(lambda client: client.build(app, path, stdin=stdin, stdout=stdout, stderr=stderr))

    message(f"{app}: building {release}")
    return build(run, lambda line: quote([line]), unpacked, built, release)


def _roll_out(
    target: Target,
    release: Path,
    receipt: dict[str, Any],
    *,
    supersede: bool,
    request: FleetRequest | None,
    as_json: bool,
) -> None:
    """Roll the release out, showing it unless `as_json`. Raises RolloutFailed."""
    from deployd_cli.waiting import Receipt, carry_out

    async def begin(client: Client) -> int:
        return await client.rollout(target.app, release=str(release), supersede=supersede, fleet=request)

    report = Receipt() if as_json else None
    try:
        carry_out(target.app, begin, wait=True, as_json=False, report=report)
    except RolloutFailed:
        message(f"{target.app}: {release} is not in use; deployd releases {target.app} shows what else is not")
        raise
    finally:
        if report is not None:
            receipt |= {key: report.last.get(key) for key in ROLLED_OUT}


def _conclude(target: Target, release: Path, receipt: dict[str, Any]) -> None:
    """Have the link lead to the live release, then delete releases that nothing needs and the assets of deleted ones.

    Raises Refused and DeploydError if link or assets cannot be changed; what cannot be deleted is only reported.
    """
    from deployd_cli import session
    from deployd_cli.delivery.placing import point
    from deployd_cli.release_remover import delete_free

    if target.current is not None:
        point(target.current, release)
        receipt["current"] = str(target.current)
        message(f"{target.app}: {target.current} leads to it")
    if target.prune:
        receipt["pruned"], problems = delete_free(session.run(lambda client: client.releases(target.app)))
        for line in [*(f"deleted {path}" for path in receipt["pruned"]), *problems]:
            message(f"{target.app}: {line}")
    if target.assets is not None:
        receipt["assets"]["removed"] = target.assets.finish(release)
