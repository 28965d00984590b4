"""The preview of a rollout, in words: which instance it is, and how to reach it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from deployd.model import advice
from deployd_cli.text.words import dicts_of, text_of


def preview_of(status: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the preview of a status: its socket, generation, release and instance; None if there is none."""
    rollout = status.get("rollout")
    socket = rollout.get("preview") if isinstance(rollout, Mapping) else None
    if not isinstance(rollout, Mapping) or not isinstance(socket, str):
        return None
    generation = rollout.get("to")
    new = (row for row in dicts_of(status, "instances") if row.get("generation") == generation)
    item = next(iter(new), {})
    return {
        "generation": generation,
        "release": item.get("release"),
        "instance": item.get("instance"),
        "ready": item.get("ready") is True,
        "socket": socket,
        "paused": text_of(rollout, "phase") == "paused",
    }


def preview_lines(app: str, preview: Mapping[str, Any]) -> list[str]:
    """Return which instance the preview is, a command that asks it, and how to continue."""
    socket, deployd = text_of(preview, "socket"), advice.deployd()
    state = "" if preview.get("ready") is True else ", which is not ready now"
    how = f"promote it with: {deployd} resume {app}; take it away with: {deployd} abort {app}"
    if preview.get("paused") is not True:
        how = f"its smoke tests are running; follow them with: {deployd} wait {app}"
    return [
        f"{app}: preview of generation {text_of(preview, 'generation', '?')}: {text_of(preview, 'release', '?')}",
        f"instance {text_of(preview, 'instance', '?')}{state}, at {socket}",
        f"curl --unix-socket {shlex.quote(socket)} http://{app}/",
        how,
    ]
