"""A rollout that is under way, in words: where it stands, what it waits for and how to go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployd_cli.text.words import count, dicts_of, number_of, text_of


def rollout_of(status: Mapping[str, Any]) -> str:
    """``rolling 6 → 7``, or nothing."""
    rollout = status.get("rollout")
    if not isinstance(rollout, Mapping):
        return ""
    phase = text_of(rollout, "phase", "rolling")
    origin, target = text_of(rollout, "from", "nothing"), text_of(rollout, "to", "?")
    if phase == "rolling-back":
        origin, target = target, origin
    return f"{phase} {origin} → {target}"


def how_of(source: Mapping[str, Any], app: str) -> str:
    """How to go on with a paused rollout, from its status or its event."""
    return text_of(source, "how", f"deployd resume {app} goes on, deployd abort {app} goes back")


def waits_of(rollout: Mapping[str, Any]) -> str:
    """What a paused rollout waits for: ``waits for somebody to decide after a failure``."""
    waits_for = text_of(rollout, "waits_for")
    return f"waits for {waits_for}" if waits_for else ""


def hold_words(hold: Mapping[str, Any]) -> str:
    """``2 new instances beside the old`` for a canary, ``2 new instances`` for the others; first their share of new
    connections, if it is set."""
    share = hold.get("share")
    words = f"{share_words(share)} of new connections, " if isinstance(share, (int, float)) else ""
    words += count(number_of(hold, "new"), "new instance")
    return f"{words}{' beside the old' if hold.get('canary') is True else ''}"


def share_words(share: float) -> str:
    """``5 %`` of 0.05."""
    return f"{share * 100:g} %"


def holds_of(rollout: Mapping[str, Any]) -> str:
    """Where it is to wait later: ``holds at 1 new instance beside the old, then at 4 new instances``."""
    holds = [hold_words(hold) for hold in dicts_of(rollout, "holds")]
    held = rollout.get("pause") == "held"  # at the first of them
    if held:
        holds = holds[1:]
    return f"{'then ' if held else ''}holds at {', then at '.join(holds)}" if holds else ""
