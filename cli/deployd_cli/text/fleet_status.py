"""A fleet as text: its goal, a line for each host, and its history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from deployd_cli.text.paint import Paint
from deployd_cli.text.table import Cell, Column, table
from deployd_cli.text.words import dicts_of, indented, local_time, text_of

HEADS = [
    Column("HOST", shrinks=True),
    Column("STATE"),
    Column("BATCH", number=True),
    Column("CONNECTED"),
    Column("RELEASE", shrinks=True),
]
GOALS = [
    Column("ID"),
    Column("KIND"),
    Column("HOSTS", number=True),
    Column("OUTCOME"),
    Column("BEGUN"),
    Column("RELEASE", shrinks=True),
]
STYLES = {"new": "green", "rolling": "yellow", "failed": "red", "unknown": "yellow"}
INDENT = 5


def fleet_lines(fleet: Mapping[str, Any], now: datetime, *, width: int | None, paint: Paint) -> list[str]:
    """Return the lines of `deployd fleet status APP`, with times in the zone of `now`."""
    lines = [fleet_line(fleet)]
    goal = fleet.get("goal")
    if isinstance(goal, Mapping):
        sizes = [str(size) for size in goal.get("batches") or ()]
        lines.append(
            f"  {goal_words(goal)}, begun {_time(goal, now)},"
            f" batches of {', '.join(sizes[:8])}{', …' if len(sizes) > 8 else ''}"
        )
    hosts = dicts_of(fleet, "hosts")
    if hosts:
        heading, *rows = table(HEADS, [_row(host) for host in hosts], width=width, paint=paint)
        lines.append(heading)
        for line, host in zip(rows, hosts, strict=True):
            lines.append(line)
            if reason := text_of(host, "reason"):
                lines += indented(reason, width, INDENT)
    return lines


def fleet_line(fleet: Mapping[str, Any]) -> str:
    """Return one line for the fleet."""
    counts = Counter(text_of(host, "state") for host in dicts_of(fleet, "hosts"))
    figures = ", ".join(f"{number} {state}" for state, number in counts.items())
    reason = text_of(fleet, "reason")
    parts = [text_of(fleet, "state"), *([reason] if reason else []), *([figures] if figures else [])]
    return f"{text_of(fleet, 'app')}: {'; '.join(parts)}"


def goal_words(goal: Mapping[str, Any]) -> str:
    """Return what a goal is: ``rollout of v7, ID …, token 42``."""
    kind, release, of = text_of(goal, "kind"), text_of(goal, "release"), text_of(goal, "of")
    what = f"{kind} of {release}" if release else f"{kind} of token {of}"
    return f"{what}, {text_of(goal, 'id')}, token {text_of(goal, 'token')}"


def fleet_event_line(event: Mapping[str, Any]) -> str:
    """Return a line for an event of `deployd fleet rollout`."""
    app, reason = text_of(event, "app"), text_of(event, "reason")
    if event.get("event") == "host":
        state = text_of(event, "state")
        release = f" {text_of(event, 'release')}" if event.get("release") and state == "rolling" else ""
        return f"{app}: {text_of(event, 'host')}: {state}{release}{f': {reason}' if reason else ''}"
    return f"{app}: {text_of(event, 'state')}{f': {reason}' if reason else ''}"


def fleet_history_lines(history: Mapping[str, Any], now: datetime, *, width: int | None, paint: Paint) -> list[str]:
    """Return a line for each goal, newest first, and below it the reason of its outcome."""
    goals = dicts_of(history, "goals")
    if not goals:
        return []
    heading, *rows = table(GOALS, [_goal(goal, now) for goal in goals], width=width, paint=paint)
    lines = [heading]
    for line, goal in zip(rows, goals, strict=True):
        lines.append(line)
        if reason := text_of(goal, "reason"):
            lines += indented(reason, width, INDENT)
    return lines


def _row(host: Mapping[str, Any]) -> list[Cell]:
    state = text_of(host, "state")
    return [
        Cell(text_of(host, "host")),
        Cell(state, STYLES.get(state, "")),
        Cell(text_of(host, "batch", "-")),
        Cell("yes" if host.get("alive") else "no", "" if host.get("alive") else "yellow"),
        Cell(text_of(host, "release", "-")),
    ]


def _goal(goal: Mapping[str, Any], now: datetime) -> list[Cell]:
    return [
        Cell(text_of(goal, "id")),
        Cell(text_of(goal, "kind")),
        Cell(text_of(goal, "hosts")),
        Cell(text_of(goal, "outcome", "current")),
        Cell(_time(goal, now)),
        Cell(text_of(goal, "release") or f"of token {text_of(goal, 'of')}"),
    ]


def _time(goal: Mapping[str, Any], now: datetime) -> str:
    created = local_time(goal.get("created"), now)
    return "-" if created is None else f"{created:%Y-%m-%d %H:%M:%S}"
