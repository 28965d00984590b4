"""deployd wait: the rollout in progress to its end, whatever has begun it."""

from __future__ import annotations

from deployd_cli.options import APP, JSON_LINES


def wait(app: str = APP, as_json: bool = JSON_LINES) -> None:
    """Wait for the rollout in progress, and exit as it ends. Changes nothing.

    Without a rollout in progress, exit as the last one has ended. ^C does not stop the rollout.
    """
    from deployd_cli.waiting import attach

    attach(app, as_json=as_json)
