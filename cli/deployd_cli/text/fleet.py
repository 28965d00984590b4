"""The rollout of several hosts to which a rollout belongs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployd_cli.text.words import text_of


def fleet_words(source: Mapping[str, Any]) -> str:
    """Return its ID and token; "" if there is none. `source` is a generation, a rollout or the status of an app."""
    fleet = source.get("fleet")
    if not isinstance(fleet, Mapping):
        return ""
    return f"fleet rollout {text_of(fleet, 'id', '?')}, token {text_of(fleet, 'token', '?')}"
