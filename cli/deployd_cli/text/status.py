"""The state of one app in full, or of all apps, one line each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from deployd.model import advice
from deployd_cli.text.boot import boot_words
from deployd_cli.text.drained import drained_words
from deployd_cli.text.draining import draining_words
from deployd_cli.text.failure import explained, failure_of, journal_lines
from deployd_cli.text.fleet import fleet_words
from deployd_cli.text.paint import STATE_STYLES, Paint
from deployd_cli.text.probation import probation_words
from deployd_cli.text.problems import problem_lines
from deployd_cli.text.processes import processes_of
from deployd_cli.text.readiness import ready_of, ready_words
from deployd_cli.text.rollout import how_of, pauses_of, rollout_of, waits_of
from deployd_cli.text.steering import percent_of, routing_words, steered, steering_words
from deployd_cli.text.table import Cell, Column, table
from deployd_cli.text.timers import timer_lines
from deployd_cli.text.trim import summed, trimmed, within
from deployd_cli.text.words import ELLIPSIS, age, columns, count, cut, dicts_of, duration, indented, number_of, text_of

APPS = [
    Column("APP", shrinks=True, least=4),
    Column("GENERATION", number=True),
    Column("READY"),
    Column("ROLLOUT", shrinks=True, least=12),
    Column("RELEASE", shrinks=True, cut_left=True),
]
INSTANCE = Column("INSTANCE", number=True)
GENERATION = Column("GENERATION", number=True, short="GEN")
STATE = Column("STATE")
SINCE = Column("SINCE", number=True)
RESTARTS = Column("RESTARTS", number=True)
PID = Column("PID", number=True)
BOOT = Column("BOOT", number=True)
WEIGHT = Column("WEIGHT", number=True)
OPEN = Column("OPEN", number=True)
IN_FLIGHT = Column("IN FLIGHT", number=True, short="BUSY")
QUEUE = Column("QUEUE", number=True)
RELEASE = Column("RELEASE", shrinks=True, cut_left=True)
TABLE = 5
"""Lines that the table of instances has at least: an empty one, the heading, two instances and the rest."""
ROOMY = 100
"""Columns from which on the table has a column for releases, if there is more than one release."""


def status_lines(
    status: Mapping[str, Any], now: datetime, *, width: int | None, paint: Paint, height: int | None = None
) -> list[str]:
    """Return the state of an app: its rollout and how to continue it, its instances, and their problems below them.

    With a `height` that is too small for all instances, those that simply serve are summed up.
    """
    instances = dicts_of(status, "instances")
    timers = [
        *_processes(status, now, width, paint, short=height is not None),
        *timer_lines(dicts_of(status, "timers"), now, width, paint),
    ]
    whole = height
    if height is not None:
        height = max(height - len(timers), 1)
    details, routing = _details(status, width), indented(routing_words(status), width)
    rollout = _rollout(status, width, paint)
    sentences = [*steering_words(status, now, width), *draining_words(status, now)]
    steering = [line for sentence in sentences for line in indented(sentence, width)]
    head = _head(status, width, paint)
    lines = [*head[:1], *details, *head[1:], *routing, *rollout, *steering]
    if height is not None and instances and len(lines) > height - TABLE:
        # On a short terminal its instances, and what can be done, are more important.
        room = height - TABLE - len(head) - len(rollout)
        lines = [*head, *rollout, *within([*steering, *details, *routing], max(room, 0), width)]
    if instances:
        heads = _heads(status, instances, width)
        problems = _problems(
            _own_problems(status, instances), now, width, None if height is None else (height - len(lines)) // 2
        )
        room = len(instances) if height is None else height - len(lines) - len(problems) - 2
        shown, rest = trimmed(instances, room, _urgency)
        rows = [[cells[head] for head in heads] for cells in (_instance(instance, now) for instance in shown)]
        if rows:
            lines += ["", *table(heads, rows, width=width, paint=paint, indent=2)]
        if rest:
            sums = summed((text_of(item, "state", "-"), text_of(item, "generation", "-")) for item in rest)
            lines.append("  " + _within(sums, width, 2))
        lines += problems
    return within([*lines, *timers], whole, width)


def overview_lines(
    statuses: Iterable[Mapping[str, Any]], *, width: int | None, paint: Paint, height: int | None = None
) -> list[str]:
    """Return a line for each app; with a `height` that is too small, those with a problem or a rollout stay."""
    every = [row for status in statuses for row in (status, *_rows_of_processes(status))]
    shown, rest = trimmed(every, len(every) if height is None else height - 1, _app_urgency)
    rows = [_overview(status) for status in shown]
    lines = table(APPS, rows, width=width, paint=paint) if rows else []
    if rest:
        lines.append(_within(f"{ELLIPSIS} {count(len(rest), 'more app')}", width, 0))
    return within(lines, height, width)


def _rows_of_processes(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the further process types of an app as rows below it."""
    for process, its in processes_of(status):
        yield {**its, "app": f"  {process}", "release": "", "rollout": None, "last_failure": None}


def _processes(status: Mapping[str, Any], now: datetime, width: int | None, paint: Paint, *, short: bool) -> list[str]:
    """Return the instances of the further process types, and their problems; if `short`, a line for each type."""
    lines: list[str] = []
    for process, its in processes_of(status):
        instances = dicts_of(its, "instances")
        plain = f"  {process}: {ready_words(its)}"
        painted = f"  {paint('strong', process)}: {paint(_health(its), ready_words(its))}"
        first = painted if width is None or columns(plain) <= width else cut(plain, width)
        if short:
            lines += [first] if lines else ["", first]
            continue
        lines += ["", first]
        heads = _heads(its, instances, width)
        rows = [[cells[head] for head in heads] for cells in (_instance(instance, now) for instance in instances)]
        lines += table(heads, rows, width=width, paint=paint, indent=2) if rows else []
        lines += _problems(instances, now, width, None)
    return lines


def _app_urgency(status: Mapping[str, Any]) -> tuple[float, ...]:
    """Return a sort key: apps that are not as desired, then those with a rollout."""
    return (_health(status) == "good" and not failed_of(status), not status.get("rollout"))


def _overview(status: Mapping[str, Any]) -> list[Cell | str]:
    return [
        text_of(status, "app", "-"),
        text_of(status, "generation", "-"),
        Cell(ready_of(status), _health(status)),
        Cell(rollout_of(status), "busy") if status.get("rollout") else Cell(failed_of(status), "bad"),
        text_of(status, "release", "-"),
    ]


def change_line(status: Mapping[str, Any]) -> str:
    """Return the line of a change, for `status --watch` in a pipe."""
    parts = [f"generation {text_of(status, 'generation', '-')}", ready_words(status)]
    if words := rollout_of(status):
        rollout = status["rollout"]
        reason = explained(rollout) if rollout.get("phase") == "paused" else ""
        parts.append(f"{words}: {reason}" if reason else words)
    if isinstance(standby := status.get("standby"), Mapping):
        parts.append(f"generation {text_of(standby, 'generation', '?')} in standby")
    if watched := probation_words(status):
        parts.append(watched)
    return f"{text_of(status, 'app', '-')}: " + ", ".join(parts)


def exit_code_of(status: Mapping[str, Any]) -> int:
    """Return the exit status of `deployd status --exit-code` for an app."""
    every = [status, *(its for _, its in processes_of(status) if number_of(its, "desired"))]
    return max({"ok": 0, "degraded": 1}.get(text_of(item, "health", "ok"), 2) for item in every)


def _head(status: Mapping[str, Any], width: int | None, paint: Paint) -> list[str]:
    app, generation = text_of(status, "app", "-"), text_of(status, "generation")
    unknown = "generation unknown" if number_of(status, "ready") else "no generation yet"
    what = f"generation {generation}" if generation not in ("", "0") else unknown
    first = f"{app}: {what}, {ready_words(status)}"
    if width is not None and columns(first) > width:
        lines = [cut(first, width)]
    else:
        lines = [f"{paint('strong', app)}: {what}, {paint(_health(status), ready_words(status))}"]
    watched = probation_words(status)
    if (reason := text_of(status, "reason")) and reason not in watched:
        lines += indented(reason, width)
    lines += indented(watched, width)
    if error := text_of(status, "history_error"):
        lines += indented(f"requests are refused: {error}", width)
    lines += indented(stopped_words(status), width)
    lines += indented(drained_words(status), width)
    return lines + [line for item in dicts_of(status, "addresses") for line in indented(address_words(item), width)]


def _details(status: Mapping[str, Any], width: int | None) -> list[str]:
    """Return what is the same nearly all of the time."""
    lines = []
    if release := text_of(status, "release"):
        lines.append("  " + _within(release, width, 2, left=True))
    if boot := boot_words(status):
        lines.append("  " + _within(boot, width, 2))
    return lines


def stopped_words(status: Mapping[str, Any]) -> str:
    """Return how a stopped app is started again; "" if it is not stopped."""
    if text_of(status, "health") != "stopped" or status.get("rollout") is not None:
        return ""
    opened = any(item.get("open") is True for item in dicts_of(status, "addresses"))
    start = f"start it with: {advice.systemctl()} start {text_of(status, 'app', 'APP')}.service"
    return f"stopped; the next connection starts it, or {start}" if opened else f"stopped; {start}"


def address_words(address: Mapping[str, Any]) -> str:
    """Return what is wrong with an address; "" if it is open and clients can reach it."""
    is_open, reason = address.get("open") is True, text_of(address, "reason")
    if is_open and not reason:
        return ""
    return f"{text_of(address, 'address', '?')} is {'open' if is_open else 'closed'}" + (
        f": {reason}" if reason else ""
    )


def _rollout(status: Mapping[str, Any], width: int | None, paint: Paint) -> list[str]:
    rollout = status.get("rollout")
    if not isinstance(rollout, Mapping):
        return _last_failure(status, width, paint)
    lines = ["  " + paint("busy", _within(rollout_of(status), width, 2))]
    lines += indented(fleet_words(rollout), width)
    lines += indented(explained(rollout), width)
    lines += [_within(line, width, 0) for line in journal_lines(failure_of(rollout))]
    if rollout.get("phase") == "paused":
        lines += indented(waits_of(rollout), width)
        lines += indented(how_of(rollout, text_of(status, "app", "APP")), width)
    return lines + indented(pauses_of(rollout), width)


def _last_failure(status: Mapping[str, Any], width: int | None, paint: Paint) -> list[str]:
    """Return how the first deployment ended, if it came to nothing."""
    last = status.get("last_failure")
    if not isinstance(last, Mapping):
        return []
    lines = indented(f"{failed_of(status)}: {explained(last) or 'no reason is known'}", width)
    return [
        *(paint("bad", line) for line in lines),
        *(_within(line, width, 0) for line in journal_lines(failure_of(last))),
    ]


def failed_of(status: Mapping[str, Any]) -> str:
    """Return ``generation 1 failed`` if the first deployment came to nothing."""
    last = status.get("last_failure")
    if not isinstance(last, Mapping):
        return ""
    return f"generation {text_of(last, 'generation', '?')} {text_of(last, 'result', 'failed')}"


def _problems(instances: list[Mapping[str, Any]], now: datetime, width: int | None, room: int | None) -> list[str]:
    """Return at most `room` lines, the first one empty: sentences, and the journal lines if all fit."""
    found = [lines for instance in instances if (lines := problem_lines(instance, now))]
    if not found:
        return []
    if room is not None and sum(map(len, found)) >= room:
        found = [lines[:1] for lines in found]
    lines = ["", *("  " + _within(line, width, 2) for lines in found for line in lines)]
    return lines if room is None else lines[: max(room, 0)]


def _own_problems(status: Mapping[str, Any], instances: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the instances without those that have only the problem of the app, which stands above.

    It is stopped, or an address is closed.
    """
    if stopped_words(status):
        return [item for item in instances if item.get("state") != "inactive"]
    if all(item.get("open") is True for item in dicts_of(status, "addresses")):
        return instances
    return [item for item in instances if item.get("state") != "unreachable"]


def _within(text: str, width: int | None, indent: int, *, left: bool = False) -> str:
    return text if width is None else cut(text, width - indent, left=left)


def _heads(status: Mapping[str, Any], instances: list[Mapping[str, Any]], width: int | None) -> list[Column]:
    """Return the columns that have values for these instances; the least important ones last."""
    heads = [INSTANCE, GENERATION, STATE, SINCE]
    if steered(status):
        weights = {weight for instance in instances if (weight := instance.get("weight")) is not None}
        heads += [WEIGHT] if len(weights) > 1 else []
        heads += [OPEN] if any(instance.get("connections") is not None for instance in instances) else []
        heads += [IN_FLIGHT] if any(instance.get("in_flight") is not None for instance in instances) else []
    heads += [RESTARTS, PID]
    heads += [QUEUE] if any(number_of(instance, "queue") for instance in instances) else []
    heads += [BOOT] if any(instance.get("boot") is not None for instance in instances) else []
    several = len({text_of(instance, "release") for instance in instances} - {""}) > 1
    return [*heads, RELEASE] if several and (width is None or width >= ROOMY) else heads


def _instance(instance: Mapping[str, Any], now: datetime) -> dict[Column, Cell | str]:
    state, restarts = text_of(instance, "state", "-"), number_of(instance, "restarts")
    return {
        INSTANCE: text_of(instance, "instance", "-"),
        GENERATION: text_of(instance, "generation", "-"),
        STATE: Cell(state, STATE_STYLES.get(state, "")),
        SINCE: age(instance.get("since"), now),
        WEIGHT: percent_of(instance, "weight"),
        OPEN: text_of(instance, "connections", "-"),
        IN_FLIGHT: _in_flight(instance),
        QUEUE: Cell(text_of(instance, "queue", "-"), "busy" if number_of(instance, "queue") else ""),
        RESTARTS: Cell(str(restarts), "bad" if restarts else ""),
        PID: str(number_of(instance, "main_pid") or "-"),
        BOOT: duration(instance.get("boot")),
        RELEASE: text_of(instance, "release", "-"),
    }


def _in_flight(instance: Mapping[str, Any]) -> Cell:
    """Return the requests in flight, and for how long there was no answer, if that is long."""
    number, stalled = text_of(instance, "in_flight", "-"), instance.get("stalled_for")
    return Cell(number) if stalled is None else Cell(f"{number} ({duration(stalled)})", "busy")


def _health(status: Mapping[str, Any]) -> str:
    ready, desired = number_of(status, "ready"), number_of(status, "desired")
    if ready >= desired:
        return "good"
    return "busy" if ready else "bad"


def _urgency(instance: Mapping[str, Any]) -> tuple[float, ...]:
    """Return a sort key: instances that do not serve, then restarted ones, standby last."""
    state = instance.get("state")
    return (2 if state in ("standby", "draining") else state == "ready", -number_of(instance, "restarts"))
