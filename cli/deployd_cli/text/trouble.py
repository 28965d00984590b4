"""What is wrong with single instances: crashes, the next try, probes that are not answered, last journal lines."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from deployd_cli.text.failure import ending, journal_lines
from deployd_cli.text.words import count, duration, moment, number_of, text_of


def trouble_lines(instance: Mapping[str, Any], now: datetime) -> list[str]:
    """A sentence and below it the journal's last lines; nothing for an instance that is well."""
    said = []
    detail = text_of(instance, "detail") or ending(instance)
    crashes = number_of(instance, "crashes")
    if instance.get("state") == "failed" or crashes:
        said += [detail] if detail else []
    if crashes and "crashed" not in detail:
        said.append(f"crashed {count(crashes, 'time')}")
    if (again := moment(instance.get("retry_at"))) and "next try" not in detail:
        wait = (again - now).total_seconds()
        said.append(f"next try in {duration(wait)}" if wait > 0 else "next try now")
    if error := text_of(instance, "probe_error"):
        said.append(f"its probe: {error}")
    journal = journal_lines(instance)
    if not said and not journal:
        return []
    return [f"instance {text_of(instance, 'instance', '?')}: {', '.join(said) or 'it wrote'}", *journal]
