"""How long instances took from their start until they were ready, and what the gate allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployd_cli.text.words import count, duration, number_of


def boot_of(source: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ``boot`` of a status or a generation: count, median and max; empty if nothing was measured."""
    boot = source.get("boot")
    return boot if isinstance(boot, Mapping) else {}


def boot_words(status: Mapping[str, Any]) -> str:
    """``boots in 0.4 s, at most 1.2 s (12 boots); gate timeout 30 s, learned``."""
    parts, boot = [], boot_of(status)
    if boot:
        measured = count(number_of(boot, "count"), "boot")
        parts.append(f"boots in {duration(boot.get('median'))}, at most {duration(boot.get('max'))} ({measured})")
    if (timeout := duration(status.get("gate_timeout"))) != "-":
        parts.append(f"gate timeout {timeout}{', learned' if status.get('gate_timeout_learned') is True else ''}")
    return "; ".join(parts)


def boot_figures(generation: Mapping[str, Any]) -> str:
    """``0.4 s/1.2 s``: median and longest."""
    boot = boot_of(generation)
    return f"{duration(boot.get('median'))}/{duration(boot.get('max'))}" if boot else "-"
