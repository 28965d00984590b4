"""deployd pause, resume, abort, weight, remove: a word to the daemon, a sentence back; or --wait, and what follows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import typer

from deployd_cli.options import APP, JSON_LINES, PAST_IRREVERSIBLE, share
from deployd_cli.output import message
from deployd_cli.text.rollout import share_words

if TYPE_CHECKING:
    from deployd.api import Client

    Call = Callable[[Client], Awaitable[None]]

WAIT = typer.Option(False, "--wait", help="Wait for the end of the rollout and show what happens.")
GENERATION = typer.Argument(..., metavar="GENERATION", min=1, help="One of the rollout's two.", show_default=False)
PERCENT = typer.Argument(..., metavar="P%", help="What it gets of new connections, as 10%.", show_default=False)


def pause(app: str = APP) -> None:
    """Hold the running rollout where it is, until resume or abort."""
    _do(lambda client: client.pause(app), f"{app}: paused; deployd resume {app} goes on")


def resume(app: str = APP, wait: bool = WAIT, as_json: bool = JSON_LINES) -> None:
    """Go on with a paused rollout."""
    call = lambda client: client.resume(app)  # noqa: E731
    if _waits(wait, as_json):
        _follow(app, call, as_json=as_json)
    else:
        _do(call, f"{app}: resumed; deployd status {app} --watch shows it")


def abort(
    app: str = APP, past_irreversible: bool = PAST_IRREVERSIBLE, wait: bool = WAIT, as_json: bool = JSON_LINES
) -> None:
    """Take the running rollout back to where it started."""
    call = lambda client: client.abort(app, past_irreversible=past_irreversible)  # noqa: E731
    if _waits(wait, as_json):
        _follow(app, call, wanted="aborted", as_json=as_json)
    else:
        _do(call, f"{app}: going back; deployd status {app} --watch shows it")


def weight(app: str = APP, generation: int = GENERATION, percent: str = PERCENT) -> None:
    """Give a generation a share of new connections.

    While a rollout of an app that is steered is under way, until it is resumed past its hold, goes back or ends.
    """
    from deployd_cli.session import run

    part = share(percent, "P%")

    async def call(client: Client) -> list[object]:
        await client.weigh(app, generation, part)
        rollout = (await client.status(app)).get("rollout") or {}
        return [rollout.get(end) for end in ("from", "to")]

    rest = "".join(f", generation {other} the rest" for other in run(call) if other not in (None, generation))
    message(f"{app}: generation {generation} gets {share_words(part)} of new connections{rest}")


def remove(app: str = APP) -> None:
    """Stop the app and take away what was generated. Its app file stays."""
    _do(lambda client: client.remove(app), f"{app}: removed")


def _waits(wait: bool, as_json: bool) -> bool:
    if as_json and not wait:
        raise typer.BadParameter("events are told with --wait only", param_hint="--json")
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
