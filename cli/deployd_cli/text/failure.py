"""Why a rollout failed: the reason, what the gate waited for and how long, how the process ended, its last lines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from deployd_cli.text.words import count, duration, list_of, number_of, text_of, verbatim

INDENT = "    "
LONGEST = 1000
"""Columns of a journal line in a pipe, where nothing else is cut: a line may have a megabyte."""


def failure_of(source: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``failure`` of an event, a rollout or a generation; empty if there is none."""
    failure = source.get("failure")
    return failure if isinstance(failure, Mapping) else {}


def explained(source: Mapping[str, Any]) -> str:
    """Return the ``reason`` of `source` and, in brackets, the facts of its failure that the reason does not mention."""
    reason, failure = text_of(source, "reason"), failure_of(source)
    if not failure:
        return reason
    sentence = text_of(failure, "reason")
    if not reason or reason == sentence or sentence not in reason:
        parts = [part for part in (reason, sentence) if part]
        reason = "; ".join(dict.fromkeys(parts))
    missing = facts(failure, reason)
    return f"{reason} ({missing})" if reason and missing else reason or missing


def facts(failure: Mapping[str, Any], said: str = "") -> str:
    """Return instance, gate, what it waited for and how long, exit status or signal, unless `said` mentions them."""
    found = []
    instance, gate, waited_for = (text_of(failure, key) for key in ("instance", "gate", "waited_for"))
    if instance and not re.search(rf"\binstance {re.escape(instance)}\b", said):
        found.append(f"instance {instance}")
    if gate:
        found.append(f"gate {gate}")
    waited = duration(failure.get("waited"))
    if waited_for:
        thing = f"it {waited_for}" if waited_for.startswith("to ") else waited_for
        found.append(f"waited {waited} for {thing}" if waited != "-" else f"waited for {thing}")
    elif waited != "-":
        found.append(f"after {waited}")
    return ", ".join(found + _ending(failure, said))


def _ending(source: Mapping[str, Any], said: str = "") -> list[str]:
    status, signal = number_of(source, "exit_status", -1), text_of(source, "signal")
    if signal:
        return [] if signal.removeprefix("SIG") in said else [f"killed by {signal}"]
    if status < 0 or f"status {status}" in said:
        return []
    return [f"exit status {status}"]


def ending(source: Mapping[str, Any]) -> str:
    """Return how a process ended, from ``exit_status`` and ``signal``."""
    return "".join(_ending(source))


def journal_lines(source: Mapping[str, Any], newest: int = 0) -> list[str]:
    """Return the last lines of the process, printable and indented: the `newest`, or all; or else their number."""
    lines = [verbatim(line, LONGEST) for line in list_of(source, "journal") if isinstance(line, str)]
    if not lines and (left_out := number_of(source, "journal_lines")) > 0:
        return [f"{INDENT}({count(left_out, 'line')} in the journal, which you may not read; see journalctl(1))"]
    return [INDENT + line for line in [line for line in lines if line][-newest:]]
