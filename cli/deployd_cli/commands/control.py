"""deployd pause, resume, abort, remove: one word to the daemon, one sentence back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from deployd_cli.options import APP
from deployd_cli.output import message

if TYPE_CHECKING:
    from deployd.api import Client


def pause(app: str = APP) -> None:
    """Hold the running rollout where it is, until resume or abort."""
    _do(lambda client: client.pause(app), f"{app}: paused; deployd resume {app} goes on")


def resume(app: str = APP) -> None:
    """Go on with a paused rollout."""
    _do(lambda client: client.resume(app), f"{app}: resumed; deployd status {app} --watch shows it")


def abort(app: str = APP) -> None:
    """Take the running rollout back to where it started."""
    _do(lambda client: client.abort(app), f"{app}: going back; deployd status {app} --watch shows it")


def remove(app: str = APP) -> None:
    """Stop the app and take away what was generated. Its app file stays."""
    _do(lambda client: client.remove(app), f"{app}: removed")


def _do(call: Callable[[Client], Awaitable[None]], done: str) -> None:
    from deployd_cli.session import run

    run(call)
    message(done)
