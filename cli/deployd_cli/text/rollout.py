"""A rollout that is in progress, in words: its phase, what it waits for and how to continue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployd.model import advice
from deployd_cli.text.words import count, dicts_of, number_of, text_of


def rollout_of(status: Mapping[str, Any]) -> str:
    """Return ``rolling 6 → 7``, or nothing."""
    rollout = status.get("rollout")
    if not isinstance(rollout, Mapping):
        return ""
    phase, origin, target = text_of(rollout, "phase", "rolling"), text_of(rollout, "from"), text_of(rollout, "to", "?")
    if phase == "rolling-back":
        return f"rolling back {target} → {origin}" if origin else rolling_back("")
    if not origin:
        return f"first deployment{', paused' if phase == 'paused' else ''}, generation {target}"
    return f"{phase} {origin} → {target}"


def rolling_back(origin: str) -> str:
    """Return what a rollback does; a first deployment has no `origin`."""
    return f"rolling back to generation {origin}" if origin else "removing the failed first deployment"


def release_change(source: Mapping[str, Any]) -> str:
    """Return ``/srv/demo/v1 → /srv/demo/v2``, from an event or a plan; a single release if it stays."""
    before, release = text_of(source, "from_release"), text_of(source, "release", "release unknown")
    if not before:
        return release
    return f"{release} (unchanged)" if before == release else f"{before} → {release}"


def how_of(source: Mapping[str, Any], app: str) -> str:
    """Return how to continue a paused rollout, from its status or its event."""
    return text_of(
        source,
        "how",
        f"continue with: {advice.deployd()} resume {app}; or roll back with: {advice.deployd()} abort {app}",
    )


def waits_of(rollout: Mapping[str, Any]) -> str:
    """Return what a paused rollout waits for: ``waits for a decision after the failure``."""
    waits_for = text_of(rollout, "waits_for")
    return f"waits for {waits_for}" if waits_for else ""


def pause_words(hold: Mapping[str, Any]) -> str:
    """Return where a rollout pauses: ``5 % of new connections, 1 new instance alongside the old``."""
    new = count(number_of(hold, "new"), "new instance")
    if hold.get("preview") is True or hold.get("smoke") is True:
        return f"{new}{' without clients' if hold.get('preview') is True else ''}"
    weight = hold.get("share")
    words = f"{percent_words(weight)} of new connections, " if isinstance(weight, (int, float)) else ""
    words += new
    return f"{words}{' alongside the old' if hold.get('canary') is True else ''}"


def percent_words(fraction: float) -> str:
    """Return ``5 %`` for 0.05."""
    return f"{fraction * 100:g} %"


def pauses_of(rollout: Mapping[str, Any]) -> str:
    """Return where the rollout will pause: ``pauses at 1 new instance alongside the old, then at 4 new instances``."""
    pauses = [pause_words(hold) for hold in dicts_of(rollout, "holds") if hold.get("smoke") is not True]
    at_first = rollout.get("pause") == "held"
    if at_first:
        pauses = pauses[1:]
    return f"{'then ' if at_first else ''}pauses at {', then at '.join(pauses)}" if pauses else ""
