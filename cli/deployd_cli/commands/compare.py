"""deployd compare: the generations that run at the same time, side by side."""

from __future__ import annotations

import sys
from datetime import datetime

from deployd_cli.options import APP, JSON
from deployd_cli.output import message, paint_for, show, show_json, width_of
from deployd_cli.text.compare import compare_lines


def compare(app: str = APP, as_json: bool = JSON) -> None:
    """Show the generations that have instances now, side by side. Changes nothing.

    For each: connections, restarts, CPU time, memory and the errors that it logged.
    """
    from deployd_cli.session import run

    answer = run(lambda client: client.compare(app))
    if as_json:
        show_json(answer)
        return
    now = datetime.now().astimezone()
    show(lines := compare_lines(answer, now, width=width_of(sys.stdout), paint=paint_for(sys.stdout)))
    if not lines:
        message(f"{app} has no running instance")
