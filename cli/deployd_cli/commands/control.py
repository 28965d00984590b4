"""deployd pause, resume, abort, weight, remove: one request to the daemon; with --wait, the rollout to its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import typer

from deployd.model import advice
from deployd.model.fleet import LARGEST_TOKEN
from deployd_cli.options import APP, JSON_LINES, PAST_IRREVERSIBLE, percentage
from deployd_cli.output import message
from deployd_cli.text.probation import resumed_words
from deployd_cli.text.rollout import percent_words

if TYPE_CHECKING:
    from deployd.api import Client

    Call = Callable[[Client], Awaitable[None]]

WAIT = typer.Option(False, "--wait", help="Wait until the rollout has finished and show its progress.")
GENERATION = typer.Argument(
    ..., metavar="GENERATION", min=1, help="One of the two generations of the rollout.", show_default=False
)
ITS_TOKEN = typer.Option(
    0,
    "--token",
    metavar="N",
    min=1,
    max=LARGEST_TOKEN,
    help="Only the rollout of a fleet with this token; any other one is left alone.",
    show_default=False,
)
PERCENT = typer.Argument(..., metavar="P%", help="Percentage of new connections, such as 10%.", show_default=False)


def pause(app: str = APP) -> None:
    """Pause the running rollout until resume or abort."""
    _do(lambda client: client.pause(app), f"{app}: paused; continue with: {advice.deployd()} resume {app}")


def resume(app: str = APP, wait: bool = WAIT, as_json: bool = JSON_LINES) -> None:
    """Resume a paused rollout.

    Without a rollout in progress, accept the generation that is live: it is no longer watched.
    """
    if _waits(wait, as_json):
        _follow(app, lambda client: client.resume(app), as_json=as_json)
        return
    from deployd_cli.session import run

    async def call(client: Client) -> str:
        before = await client.status(app)
        await client.resume(app)
        return resumed_words(before, app)

    message(run(call))


def abort(
    app: str = APP,
    past_irreversible: bool = PAST_IRREVERSIBLE,
    token: int = ITS_TOKEN,
    wait: bool = WAIT,
    as_json: bool = JSON_LINES,
) -> None:
    """Abort the running rollout and roll it back."""
    call = lambda client: client.abort(app, past_irreversible=past_irreversible, token=token)  # noqa: E731
    if _waits(wait, as_json):
        _follow(app, call, wanted="aborted", as_json=as_json)
    else:
        _do(call, f"{app}: rolling back; follow it with: {advice.deployd()} status {app} --watch")


def weight(app: str = APP, generation: int = GENERATION, percent: str = PERCENT) -> None:
    """Set the percentage of new connections that a generation gets.

    For steered apps, while a rollout is in progress. The other generation gets the rest. The weight stays in
    force until the rollout is resumed, rolled back or finished.
    """
    from deployd_cli.session import run

    fraction = percentage(percent, "P%")

    async def call(client: Client) -> list[object]:
        await client.weigh(app, generation, fraction)
        rollout = (await client.status(app)).get("rollout") or {}
        return [rollout.get(end) for end in ("from", "to")]

    rest = "".join(f", generation {other} the rest" for other in run(call) if other not in (None, generation))
    message(f"{app}: generation {generation} now gets {percent_words(fraction)} of new connections{rest}")


def remove(app: str = APP) -> None:
    """Stop the app and delete its units and state. The app file is kept."""
    _do(lambda client: client.remove(app), f"{app}: removed")


def _waits(wait: bool, as_json: bool) -> bool:
    if as_json and not wait:
        raise typer.BadParameter("requires --wait", param_hint="--json")
    return wait


def _follow(app: str, call: Call, *, as_json: bool, wanted: str = "succeeded") -> None:
    from deployd_cli.waiting import carry_out

    async def begin(client: Client) -> int:
        rollout = (await client.status(app)).get("rollout") or {}
        await call(client)
        return int(rollout.get("to") or 0)

    carry_out(app, begin, wait=True, as_json=as_json, wanted=wanted)


def _do(call: Call, done: str) -> None:
    from deployd_cli.session import run

    run(call)
    message(done)
