"""Boot times, from the start of an instance until it was ready, and the timeout of the gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployd_cli.text.words import count, duration, number_of


def boot_of(source: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``boot`` of a status or a generation: count, median and max; empty if nothing was measured."""
    boot = source.get("boot")
    return boot if isinstance(boot, Mapping) else {}


def median_boot(status: Mapping[str, Any]) -> float:
    """Return the median of the boot times in seconds, 0 if none was measured."""
    median = boot_of(status).get("median")
    return float(median) if isinstance(median, int | float) else 0.0


def boot_words(status: Mapping[str, Any]) -> str:
    """Return ``boot time 0.4 s, at most 1.2 s (12 boots); gate timeout 30 s (learned)``."""
    parts, boot = [], boot_of(status)
    if boot:
        measured = count(number_of(boot, "count"), "boot")
        parts.append(f"boot time {duration(boot.get('median'))}, at most {duration(boot.get('max'))} ({measured})")
    if (timeout := duration(status.get("gate_timeout"))) != "-":
        parts.append(f"gate timeout {timeout}{' (learned)' if status.get('gate_timeout_learned') is True else ''}")
    return "; ".join(parts)


def boot_figures(generation: Mapping[str, Any]) -> str:
    """Return ``0.4 s/1.2 s``: median and maximum."""
    boot = boot_of(generation)
    return f"{duration(boot.get('median'))}/{duration(boot.get('max'))}" if boot else "-"
