"""Measures how 1,000 idle WebSocket clients are moved by a rollout: how often each, and how many reconnect at a time.

With all new instances ready before the first old one stops, the clients of all could lose their connections together.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.bench import rig
from tests.bench.figure import Figure
from tests.host.machine import Machine
from tests.host.websockets import SERVER, Clients

COUNT = 1000
INSTANCES = 8
ONCE = 1.0
PEAK = 4.0
"""The aim for the second with the most reconnects, in times of the mean of all seconds."""
PACE: dict[str, Any] = {"max_surge": "100%", "max_unavailable": 0}
KINDS: dict[str, dict[str, Any]] = {
    "signal": {"close_after": "30s", "signal": "SIGUSR1"},
    "stop": {},
    "no pacing": {"settle": 0},
}


def measure(machine: Machine) -> list[Figure]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * COUNT)), hard))
    lines = []
    for kind, drain in KINDS.items():
        machine.clean()
        lines += _moved(machine, kind, drain)
    return lines


def _moved(machine: Machine, kind: str, drain: dict[str, Any]) -> list[Figure]:
    old, new = (rig.release(machine, "waves", name, files={"server": SERVER}) for name in ("old", "new"))
    steered: dict[str, Any] = {"routing": "steered", "exec": ["./server"], "rollout": PACE, "drain": drain}
    rig.deploy(machine, "waves", INSTANCES, old, **steered)
    with Clients(machine.network_namespace, rig.PORT, COUNT) as clients:
        machine.wait_for(lambda: clients.connected == COUNT, what="all clients", timeout=rig.LIMIT)
        took = rig.rollout(machine, "waves", new)
        machine.wait_for(lambda: clients.connected == COUNT, what="all clients to be back", timeout=rig.LIMIT)
    rig.remove(machine, "waves")
    aims = (None, None) if kind == "no pacing" else (ONCE, PEAK)
    return [
        Figure(f"{COUNT} idle clients, {kind}: moves of a client at most", max(clients.moves().values()), "", aims[0]),
        Figure("  most reconnects in a second", peak([visit.at for visit in clients.visits[COUNT:]]), "means", aims[1]),
        Figure("  duration of the rollout", took.events, "s"),
        Figure("  failed connections", len(clients.failures), "", 0),
    ]


def peak(times: Sequence[float]) -> float:
    """Return the events of the second with the most of them, in times of the mean of all seconds from the first to the
    last event."""
    first = min(times)
    seconds = Counter(int(at - first) for at in times)
    return max(seconds.values()) * (max(seconds) + 1) / len(times)
