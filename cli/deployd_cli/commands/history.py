"""deployd history: what was, and why."""

from __future__ import annotations

import sys
from datetime import datetime

from deployd_cli.options import APP, JSON
from deployd_cli.output import message, paint_for, show, show_json, width_of
from deployd_cli.text.history import history_lines


def history(app: str = APP, as_json: bool = JSON) -> None:
    """Show what was rolled out and what came of it, newest first. Changes nothing."""
    from deployd_cli.session import run

    answer = run(lambda client: client.history(app))
    if as_json:
        show_json(answer)
        return
    now = datetime.now().astimezone()
    show(lines := history_lines(answer, now, width=width_of(sys.stdout), paint=paint_for(sys.stdout)))
    if not lines:
        message(f"{app} has no generation yet")
