"""The output of a check plugin, as Nagios, Icinga and others read it.

The first line is ``STATE - text | performance data``, of the app that is worst; further lines are shown as long text
(Nagios plugin API). A line has no other "|", which would begin performance data.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from deployd_cli.monitoring.verdict import State, Verdict, worst


def plugin_lines(verdicts: Iterable[Verdict], *, single: bool = False) -> list[str]:
    """Return a line for each app, the worst first. The labels of the performance data begin with the name of the app,
    unless a `single` app was asked for."""
    found = sorted(verdicts, key=lambda item: (-item.state, item.app))
    if not found:
        return ["OK - no apps"]
    figures = " ".join(
        _figures(item, "" if single else f"{item.app}_") for item in sorted(found, key=lambda it: it.app)
    )
    first, *others = map(_line, found)
    return [f"{first} | {figures}", *others]


def unknown_line(reason: str) -> str:
    """Return the line of a check that could not find out the state."""
    return f"{State.UNKNOWN.name} - {_plain(reason)}"


def document(verdicts: list[Verdict]) -> dict[str, Any]:
    """Return the same as one JSON object."""
    return {
        "state": worst(verdicts).name,
        "reason": None,
        "apps": [
            {
                "app": item.app,
                "state": item.state.name,
                "ready": item.ready,
                "desired": item.desired,
                "restarts": item.restarts,
                "reasons": list(item.reasons),
                "notes": list(item.notes),
            }
            for item in verdicts
        ],
    }


def unknown_document(reason: str) -> dict[str, Any]:
    """Return the JSON object of a check that could not find out the state."""
    return {"state": State.UNKNOWN.name, "reason": reason, "apps": []}


def _line(item: Verdict) -> str:
    generation = f"generation {item.generation}" if item.generation else "not deployed"
    words = [f"{item.app}: {item.ready} of {item.desired} ready, {generation}", *item.reasons, *item.notes]
    return f"{item.state.name} - {_plain('; '.join(words))}"


def _plain(text: str) -> str:
    return text.replace("|", "/")


def _figures(item: Verdict, prefix: str) -> str:
    """Return ``label=value;warning range;critical range;minimum``; the range ``4:`` is left by values below 4."""
    ranges = f"{item.desired}:;1:;0" if item.desired else ";;0"
    return (
        f"{prefix}ready={item.ready};{ranges} {prefix}desired={item.desired};;;0 {prefix}restarts={item.restarts};;;0"
    )
