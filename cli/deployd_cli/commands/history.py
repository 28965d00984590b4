"""deployd history: past rollouts and their results."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import typer

from deployd.model import advice
from deployd_cli.options import APP, JSON
from deployd_cli.output import message, paint_for, show, show_json, width_of
from deployd_cli.text.history import history_lines
from deployd_cli.text.words import dicts_of, text_of

PAGE = 200
"""Generations in one answer of the daemon."""

BEFORE = typer.Option(
    0, "--before", metavar="GENERATION", min=0, help="Show only generations older than this one.", show_default=False
)
NUMBER = typer.Option(
    PAGE, "--number", "-n", metavar="N", min=1, max=PAGE, help="Show only the newest N generations.", show_default=False
)


def history(app: str = APP, before: int = BEFORE, number: int = NUMBER, as_json: bool = JSON) -> None:
    """Show generations and the results of their rollouts. Changes nothing."""
    from deployd_cli.session import run

    answer = newest(run(lambda client: client.history(app, before)), number)
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
        message(f"older generations: {advice.deployd()} history {app} --before {oldest}")


def newest(answer: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    """Return the history with the newest `number` of its generations."""
    rows = dicts_of(answer, "generations")
    return answer if len(rows) <= number else {**answer, "generations": list(rows[:number]), "more": True}
