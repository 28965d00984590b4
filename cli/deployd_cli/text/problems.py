"""Problems of single instances: crashes, the next start, failing probes, last journal lines."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from deployd_cli.text.failure import ending, journal_lines
from deployd_cli.text.words import count, duration, number_of, text_of, time_of

HANGS = "has not answered "
"""The beginning of the detail of an instance that is ready and hangs."""

VERBS = ("crashed ", HANGS, "ended ", "exited ", "stopped ", "waits ", "was ")
"""Beginnings of sentences whose subject is the instance."""


def problem_lines(instance: Mapping[str, Any], now: datetime) -> list[str]:
    """Return a sentence and, below it, the last journal lines; nothing for a healthy instance."""
    said = []
    detail = text_of(instance, "detail") or ending(instance)
    crashes = number_of(instance, "crashes")
    hangs = detail.startswith(HANGS)
    if instance.get("state") in ("failed", "inactive", "unreachable") or crashes or hangs:
        said += [detail] if detail else []
    if crashes and not detail.startswith(("crashed", "ended", "waits")):
        said.append(f"crashed {count(crashes, 'time')}")
    if (again := time_of(instance.get("retry_at"))) and "next try" not in detail:
        wait = (again - now).total_seconds()
        said.append(f"next try in {duration(wait)}" if wait > 0 else "next try now")
    if error := text_of(instance, "probe_error"):
        said.append(f"probe failed: {error}")
    journal = journal_lines(instance)
    if not said and not journal:
        return []
    sentence = ", ".join(said) or "last lines"
    colon = "" if sentence.startswith(VERBS) else ":"
    return [f"instance {text_of(instance, 'instance', '?')}{colon} {sentence}", *journal]
