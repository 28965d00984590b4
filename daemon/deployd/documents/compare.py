"""The JSON of compare: the generations that have instances now, side by side. Pure.

The shares of generations and the open connections of instances are taken from the status, where steering counts them.
With shared sockets they are not known, and null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from deployd.documents import Json
from deployd.systemd.complaints import Complaints
from deployd.systemd.usage import Usage


def shown(status: Json) -> dict[int, list[Json]]:
    """Return the instances of each generation, newest generation first, without those that are only pinned."""
    found: dict[int, list[Json]] = {}
    for item in status["instances"]:
        if item["generation"] is not None and item["state"] != "inactive":
            found.setdefault(item["generation"], []).append(item)
    return dict(sorted(found.items(), reverse=True))


def comparison(
    status: Json,
    usages: Mapping[str, Usage] = MappingProxyType({}),
    complaints: Mapping[int, Complaints] = MappingProxyType({}),
) -> Json:
    """Return `deployd compare APP --json`. `status` is that of the app; `usages` is by unit, `complaints` by
    generation."""
    shares = {item["generation"]: item for item in status.get("shares") or []}
    return {
        "app": status["app"],
        "generations": [
            _generation(
                number,
                instances,
                shares.get(number, {}),
                [usages.get(item["unit"], Usage()) for item in instances],
                complaints.get(number, Complaints()),
            )
            for number, instances in shown(status).items()
        ],
    }


def _generation(
    number: int, instances: list[Json], share: Json, usages: Iterable[Usage], complaints: Complaints
) -> Json:
    used = list(usages)
    restarts = sum(item["restarts"] for item in instances)
    connections = share.get("connections")
    cpu, memory = _sum(item.cpu_seconds for item in used), _sum(item.memory_bytes for item in used)
    return {
        "generation": number,
        "release": instances[0]["release"],
        "instances": len(instances),
        "ready": sum(item["ready"] for item in instances),
        "connections": connections,
        "share_asked": share.get("asked"),
        "share_seen": share.get("seen"),
        "open": _sum(item.get("connections") for item in instances),
        "restarts": restarts,
        "crashes": sum(item.get("crashes") or 0 for item in instances),
        "cpu_seconds": None if cpu is None else round(cpu, 6),
        "cpu_per_1000": _per_1000(cpu, connections, restarts),
        "memory_bytes": memory,
        "memory_per_instance": None if memory is None else round(memory / len(instances)),
        "error_lines": complaints.count,
        "error_lines_more": complaints.more,
        "errors": list(complaints.last),
        "since": min((item["since"] for item in instances if item["since"]), key=datetime.fromisoformat, default=None),
    }


def _sum(values: Iterable[Any]) -> Any:
    """Return the sum, or None if a value is not known, since a partial sum would be misleading."""
    found = list(values)
    return None if not found or None in found else sum(found)


def _per_1000(cpu: float | None, connections: int | None, restarts: int) -> float | None:
    """Return CPU seconds per 1000 connections; None after a restart, since systemd counts CPU time from the restart on,
    but the connections are those of all invocations."""
    if cpu is None or not connections or restarts:
        return None
    return round(1000 * cpu / connections, 6)
