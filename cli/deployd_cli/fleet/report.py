"""The JSON of `deployd fleet`, and what changed between two views. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deployd_cli.fleet.goal import Kind, OnFailure
from deployd_cli.fleet.record import HistoryEntry
from deployd_cli.fleet.verdict import FleetState, FleetVerdict, HostState, verdict
from deployd_cli.fleet.view import View

Json = dict[str, Any]
RESULTS = {FleetState.DONE: "succeeded", FleetState.ABORTED: "aborted"}


def document(app: str, view: View) -> Json:
    """Return `deployd fleet status APP --json`. The view must be wide."""
    found, goal = verdict(view), view.goal
    return {
        "app": app,
        "state": str(found.state),
        "reason": found.reason,
        "ended": found.ended,
        "paused": bool(view.paused),
        "goal": None
        if goal is None
        else {
            "id": goal.value.id,
            "token": goal.revision,
            "kind": str(goal.value.kind),
            "of": goal.value.of or None,
            "release": goal.value.release or None,
            "archive": goal.value.archive or None,
            "sha256": goal.value.sha256 or None,
            "batches": list(goal.value.batches),
            "open": view.open_batch + 1,
            "max_failures": goal.value.max_failures,
            "bake": goal.value.bake,
            "on_failure": str(goal.value.on_failure),
            "created": goal.value.created or None,
        },
        "waiting_for": list(found.waiting_for),
        "hosts": [_host(view, name, found) for name in found.hosts],
        "problems": list(view.problems.values()),
    }


def _host(view: View, name: str, found: FleetVerdict) -> Json:
    item, record, slot = found.hosts[name], view.hosts.get(name), view.slots.get(name)
    release = record.value.release if record is not None else ""
    return {
        "host": name,
        "state": str(item.state),
        "reason": item.reason,
        "batch": None if item.batch is None else item.batch + 1,
        "alive": item.alive,
        "release": (slot.value.release if slot is not None and item.state is HostState.ROLLING else release) or None,
        "before": (record.value.before or None) if record is not None else None,
        "live": (record.value.live or None) if record is not None else None,
        "ended": (record.value.ended or None) if record is not None else None,
        "slot": slot is not None,
    }


def history_document(app: str, rows: list[tuple[str, int, HistoryEntry]]) -> Json:
    """Return `deployd fleet history APP --json`."""
    return {
        "app": app,
        "goals": [
            {
                "id": name,
                "kind": entry.kind,
                "release": entry.release or None,
                "of": entry.of or None,
                "hosts": entry.hosts,
                "created": entry.created or None,
                "outcome": entry.outcome or None,
                "reason": entry.reason,
                "ended": entry.ended or None,
            }
            for name, _, entry in rows
        ],
    }


def events(before: Mapping[str, Any] | None, now: Json) -> Iterator[Json]:
    """Yield what has changed between two documents of one app: hosts, then the fleet.

    With none before, hosts that roll already are new: the first look may come after they have begun.
    """
    known = {item["host"]: item for item in before["hosts"]} if before is not None else {}
    for host in now["hosts"]:
        old = known.get(host["host"])
        if before is None:
            is_new = host["state"] == HostState.ROLLING
        else:
            is_new = old is None or (old["state"], old["reason"]) != (host["state"], host["reason"])
        if is_new:
            yield {"event": "host", "app": now["app"], **host}
    keys = ("state", "reason", "goal")
    if before is None or any(before[key] != now[key] for key in keys):
        yield {"event": "fleet", "app": now["app"], **{key: now[key] for key in keys}}


class Awaited:
    """Whether the rollout that a driver waits for has ended, and how. `token` is that of its goal."""

    def __init__(self, token: int) -> None:
        self._token = token

    def result(self, view: View) -> tuple[str, str] | None:
        """Return the result, as one of those of a rollout, and the reason; None while it is in progress."""
        goal, found = view.goal, verdict(view)
        if goal is None:
            return "failed", found.reason
        if goal.revision != self._token and (goal.value.of != self._token or goal.value.kind is Kind.ROLLOUT):
            return "superseded", f"{goal.value.id} has replaced it"
        if not found.ended or found.waiting_for:
            return None
        if goal.revision != self._token:  # the fleet has rolled itself back, or was aborted
            done = found.state in (FleetState.DONE, FleetState.ABORTED)
            result = "rolled-back" if goal.value.kind is Kind.ROLLBACK else "aborted"
            return result if done else "failed", found.reason
        if found.state is FleetState.HALTED and goal.value.on_failure is OnFailure.ROLLBACK:
            return None  # the host that has failed sets the goal of the rollback
        return RESULTS.get(found.state, "failed"), found.reason
