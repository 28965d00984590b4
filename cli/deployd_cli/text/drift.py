"""How an app file differs from what is live, as lines of `status`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployd.model import advice
from deployd_cli.text.words import count, dicts_of, printable, text_of


def drift_lines(status: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return the lines for the answer to Changes, or for ``{"error": sentence}``; none without a difference, without a
    live generation and while a rollout is in progress."""
    app = text_of(status, "app", "-")
    if error := text_of(found, "error"):
        return [f"  the app file is invalid: {printable(error)}"]
    if not text_of(found, "generation") or status.get("rollout"):
        return []
    lines = []
    if changes := dicts_of(found, "changes"):
        what = count(len(changes), "changed key")
        lines.append(
            f"  the app file has {what}, see {advice.deployd()} plan {app}; apply with: {advice.deployd()} apply {app}"
        )
    live, chosen = text_of(status, "release"), text_of(found, "release")
    if chosen and live and chosen != live:
        lines.append(f"  release leads to {printable(chosen)} now; roll it out with: {advice.deployd()} rollout {app}")
    return lines
