"""deployd status: the state of apps, once or continuously."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from deployd_cli.options import APP_OR_ALL, JSON
from deployd_cli.output import can_redraw, message, paint_for, show, show_json, width_of
from deployd_cli.text.drained import drained_words
from deployd_cli.text.status import change_line, exit_code_of, overview_lines, status_lines
from deployd_cli.text.words import dicts_of, text_of

if TYPE_CHECKING:
    from deployd.api import Client
    from deployd.model.clock import Timestamp

WATCH = typer.Option(
    False, "--watch", "-w", help="Update the display until ^C; with --json or in a pipe, print a line per change."
)

EXIT_CODE = typer.Option(
    False, "--exit-code", help="Exit with 0 if all is as desired, 1 if an app is degraded, 2 if one is down or stopped."
)

Statuses = Mapping[str, Mapping[str, Any]]


def status(app: str = APP_OR_ALL, watch: bool = WATCH, exit_code: bool = EXIT_CODE, as_json: bool = JSON) -> None:
    """Show the state of an app and its instances, or of all apps. Changes nothing."""
    from deployd_cli.file_changes import file_changes
    from deployd_cli.session import run
    from deployd_cli.text.drift import drift_lines

    if watch and exit_code:
        raise typer.BadParameter("--exit-code cannot be combined with --watch, which has no end; use one of them")
    if watch:
        run(lambda client: _watch(client, app, as_json))
        return
    drift: list[str] = []

    async def ask(client: Client) -> Mapping[str, Any]:
        found = await (client.status(app) if app else client.describe())
        if app and not as_json:
            drift.extend(drift_lines(found, await file_changes(client, text_of(found, "app"))))
        return found

    answer = run(ask)
    statuses = {app: answer} if app else {text_of(item, "app"): item for item in dicts_of(answer, "apps")}
    if as_json:
        show_json(answer)
    else:
        _show(statuses, app)
        show(drift)
        if words := "" if app else drained_words(answer):
            message(words)
    if exit_code:
        raise typer.Exit(max((exit_code_of(item) for item in statuses.values()), default=0))


def _show(statuses: Statuses, app: str) -> None:
    show(_lines(statuses, app, datetime.now().astimezone(), width_of(sys.stdout)))
    for error in dict.fromkeys(text_of(item, "history_error") for item in statuses.values() if not app):
        if error:
            message(error)
    if not statuses:
        from deployd_cli.chosen import Chosen

        message(f"no apps; an app is a file in {Chosen.scope.apps}")


def _lines(statuses: Statuses, app: str, now: datetime, width: int | None, height: int | None = None) -> list[str]:
    paint = paint_for(sys.stdout)
    if not app:
        return overview_lines(statuses.values(), width=width, paint=paint, height=height)
    return status_lines(statuses.get(app, {}), now, width=width, height=height, paint=paint)


async def _watch(client: Client, app: str, as_json: bool) -> None:
    if as_json or not can_redraw(sys.stdout):
        async for change in client.changes(app):
            if as_json:
                show_json(change)
            else:
                show([change_line(change)])
        return

    from deployd.model.clock import Timestamp
    from deployd_cli.live import Screen
    from deployd_cli.polling import polled

    statuses: dict[str, Mapping[str, Any]] = {}
    arrived = Timestamp.now()

    def receive(status: Mapping[str, Any]) -> None:
        nonlocal arrived
        statuses[text_of(status, "app", app)], arrived = status, Timestamp.now()

    def draw(width: int, height: int) -> list[str]:
        return _lines(statuses, app, present(arrived, time.monotonic()), width, height)

    with Screen(draw) as screen:
        async with polled(client, app, receive) if app else nullcontext():
            async for change in client.changes(app):
                receive(change)
                screen.draw()


def present(arrived: Timestamp, monotonic: float) -> datetime:
    """Return the present time on the wall clock by which the times in a status were computed.

    The status may have arrived hours ago. If the wall clock has been set since, it cannot be compared with those times.
    """
    return datetime.fromtimestamp(arrived.wall + monotonic - arrived.monotonic, UTC).astimezone()
