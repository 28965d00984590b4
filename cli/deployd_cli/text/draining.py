"""Instances that drain: they were asked to stop and finish what they have begun."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from deployd_cli.text.steering import clock, spans
from deployd_cli.text.words import dicts_of, duration, number_of, text_of, time_of


def draining_words(status: Mapping[str, Any], now: datetime) -> list[str]:
    """Return which instances drain, and when the last of them will be killed at the latest."""
    found = [item for item in dicts_of(status, "instances") if text_of(item, "state") == "draining"]
    if not found:
        return []
    which = spans(number_of(item, "instance") for item in found)
    words = f"instance {which} finishes" if len(found) == 1 else f"instances {which} finish"
    words = f"draining: {words} what {'it has' if len(found) == 1 else 'they have'} begun"
    until = max((time for item in found if (time := time_of(item.get("drains_until"))) is not None), default=None)
    if until is None or until <= now:
        return [words]
    return [f"{words}, until {clock(until, now)} at most ({duration((until - now).total_seconds())} left)"]
