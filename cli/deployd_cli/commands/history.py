"""deployd history: past rollouts and their results."""

from __future__ import annotations

import sys
from datetime import datetime

import typer

from deployd_cli.options import APP, JSON
from deployd_cli.output import message, paint_for, show, show_json, width_of
from deployd_cli.text.history import history_lines
from deployd_cli.text.words import dicts_of, text_of

BEFORE = typer.Option(
    0, "--before", metavar="GENERATION", min=0, help="Show only generations older than this one.", show_default=False
)


def history(app: str = APP, before: int = BEFORE, as_json: bool = JSON) -> None:
    """Show generations and the results of their rollouts. Changes nothing."""
    from deployd_cli.session import run

    answer = run(lambda client: client.history(app, before))
    if as_json:
        show_json(answer)
        return
    now = datetime.now().astimezone()
    show(lines := history_lines(answer, now, width=width_of(sys.stdout), paint=paint_for(sys.stdout)))
    if error := text_of(answer, "history_error"):
        message(error)
    elif not lines:
        message(f"{app} has no generation {f'before {before}' if before else 'yet'}")
    elif answer.get("more") is True:
        oldest = text_of(dicts_of(answer, "generations")[-1], "generation")
        message(f"older generations: deployd history {app} --before {oldest}")
