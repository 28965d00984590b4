"""What is: one app in full, or all of them, one line each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from deployd_cli.text.paint import STATE_STYLES, Paint
from deployd_cli.text.table import Cell, Column, table
from deployd_cli.text.trim import summed, trimmed
from deployd_cli.text.words import age, columns, cut, dicts_of, number_of, text_of

APPS = [
    Column("APP", shrinks=True, least=4),
    Column("GENERATION", number=True),
    Column("READY"),
    Column("ROLLOUT", shrinks=True, least=12),
    Column("RELEASE", shrinks=True, cut_left=True),
]
INSTANCES = [
    Column("INSTANCE", number=True),
    Column("GENERATION", number=True),
    Column("STATE"),
    Column("SINCE", number=True),
    Column("RESTARTS", number=True),
    Column("PID", number=True),
]
WEIGHT = Column("WEIGHT", number=True)


def status_lines(
    status: Mapping[str, Any], now: datetime, *, width: int | None, paint: Paint, height: int | None = None
) -> list[str]:
    """An app with its instances, and the rollout if one is on, with what can be done about it.

    With a `height` that is too small for all instances, those that just serve are summed up.
    """
    lines = _head(status, width, paint) + _rollout(status, width, paint)
    instances = dicts_of(status, "instances")
    if instances:
        steered = status.get("routing") == "steered"
        heads = [*INSTANCES, WEIGHT] if steered else INSTANCES
        room = len(instances) if height is None else height - len(lines) - 2
        shown, rest = trimmed(instances, room, _urgency)
        rows = [_instance(instance, now, steered) for instance in shown]
        if rows:
            lines += ["", *table(heads, rows, width=width, paint=paint, indent=2)]
        if rest:
            sums = summed((text_of(item, "state", "-"), text_of(item, "generation", "-")) for item in rest)
            lines.append("  " + _within(f"{'and ' if rows else ''}{sums}", width, 2))
    return lines


def overview_lines(statuses: Iterable[Mapping[str, Any]], *, width: int | None, paint: Paint) -> list[str]:
    """A line for each app."""
    rows = [_overview(status) for status in statuses]
    return table(APPS, rows, width=width, paint=paint) if rows else []


def _overview(status: Mapping[str, Any]) -> list[Cell | str]:
    return [
        text_of(status, "app", "-"),
        text_of(status, "generation", "-"),
        Cell(ready_of(status), _health(status)),
        Cell(rollout_of(status), "busy"),
        text_of(status, "release", "-"),
    ]


def change_line(status: Mapping[str, Any]) -> str:
    """One line for one change, for `status --watch` in a pipe."""
    parts = [f"generation {text_of(status, 'generation', '-')}", f"{ready_of(status)} ready"]
    if rollout := rollout_of(status):
        parts.append(rollout)
    return f"{text_of(status, 'app', '-')}: " + ", ".join(parts)


def ready_of(status: Mapping[str, Any]) -> str:
    return f"{number_of(status, 'ready')} of {number_of(status, 'desired')}"


def rollout_of(status: Mapping[str, Any]) -> str:
    """``rolling 6 → 7``, or nothing."""
    rollout = status.get("rollout")
    if not isinstance(rollout, Mapping):
        return ""
    phase = text_of(rollout, "phase", "rolling")
    origin, target = text_of(rollout, "from", "nothing"), text_of(rollout, "to", "?")
    if phase == "rolling-back":
        origin, target = target, origin
    return f"{phase} {origin} → {target}"


def next_steps(app: str) -> str:
    return f"deployd resume {app} goes on, deployd abort {app} goes back"


def _head(status: Mapping[str, Any], width: int | None, paint: Paint) -> list[str]:
    app, generation = text_of(status, "app", "-"), text_of(status, "generation")
    what = f"generation {generation}" if generation not in ("", "0") else "not started yet"
    first = f"{app}: {what}, {ready_of(status)} ready"
    if width is not None and columns(first) > width:
        lines = [cut(first, width)]
    else:
        lines = [f"{paint('strong', app)}: {what}, {paint(_health(status), f'{ready_of(status)} ready')}"]
    if release := text_of(status, "release"):
        lines.append("  " + _within(release, width, 2, left=True))
    return lines


def _rollout(status: Mapping[str, Any], width: int | None, paint: Paint) -> list[str]:
    rollout = status.get("rollout")
    if not isinstance(rollout, Mapping):
        return []
    lines = ["  " + paint("busy", _within(rollout_of(status), width, 2))]
    if reason := text_of(rollout, "reason"):
        lines.append("  " + _within(reason, width, 2))
    if rollout.get("phase") == "paused":
        lines.append("  " + _within(next_steps(text_of(status, "app", "APP")), width, 2))
    return lines


def _within(text: str, width: int | None, indent: int, *, left: bool = False) -> str:
    return text if width is None else cut(text, width - indent, left=left)


def _instance(instance: Mapping[str, Any], now: datetime, steered: bool) -> list[Cell | str]:
    state = text_of(instance, "state", "-")
    restarts = number_of(instance, "restarts")
    cells: list[Cell | str] = [
        text_of(instance, "instance", "-"),
        text_of(instance, "generation", "-"),
        Cell(state, STATE_STYLES.get(state, "")),
        age(instance.get("since"), now),
        Cell(str(restarts), "bad" if restarts else ""),
        str(number_of(instance, "main_pid") or "-"),
    ]
    return [*cells, text_of(instance, "weight", "-")] if steered else cells


def _health(status: Mapping[str, Any]) -> str:
    ready, desired = number_of(status, "ready"), number_of(status, "desired")
    if ready >= desired:
        return "good"
    return "busy" if ready else "bad"


def _urgency(instance: Mapping[str, Any]) -> tuple[float, ...]:
    """What does not serve, then what did not always."""
    return (instance.get("state") == "ready", -number_of(instance, "restarts"))
