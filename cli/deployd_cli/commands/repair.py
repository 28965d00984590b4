"""deployd repair: rebuild an unusable history."""

from __future__ import annotations

from deployd_cli.options import JSON
from deployd_cli.output import message, show_json
from deployd_cli.text.repair import repair_lines


def repair(as_json: bool = JSON) -> None:
    """Rebuild a damaged history.

    Instances are not affected. The old history is kept under another name.
    """
    from deployd_cli.session import run

    answer = run(lambda client: client.repair())
    if as_json:
        show_json(answer)
        return
    for line in repair_lines(answer):
        message(line)
