"""The load of each instance of a steered app in what `status` shows."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import replace

from deployd.errors import SteeringError
from deployd.model.instance import Instance, State
from deployd.plan import hang
from deployd.routing.listeners import Listeners
from deployd.routing.report import Choice, Report

log = logging.getLogger(__name__)

HANGS = 10.0
"""Seconds after which `status` says of an instance that it hangs."""


def with_loads(listeners: Listeners, instances: Iterable[Instance], report: Report) -> Report:
    """Return the report with what the kernel counts, or with what sock_diag reports if it does not count."""
    if reason := listeners.in_turn:
        return uncounted(listeners, replace(report, choice=Choice.IN_TURN, reason=reason))
    try:
        loads, queues, now = listeners.loads(), listeners.queues(), time.monotonic()
        ready = {item.number: item.ready_since for item in instances if item.state is State.READY}
        late = hang.suspects(loads, ready, HANGS, now)
        hanging = hang.hanging(loads, ready, listeners.unread(late) if late else {}, HANGS, now)
    except SteeringError as error:
        log.debug("%s", error)
        return replace(report, choice=Choice.LEAST_BUSY)
    return replace(
        report,
        choice=Choice.LEAST_BUSY,
        connections={number: load.open for number, load in loads.items()},
        in_flight={number: load.in_flight for number, load in loads.items()},
        queues=queues,
        stalled={
            number: round(hang.silent(loads[number], now, since), 3)
            for number, since in ready.items()
            if number in loads and loads[number].hung(now)
        },
        hanging={number: found.words(now) for number, found in hanging.items()},
    )


def uncounted(listeners: Listeners, report: Report) -> Report:
    """Return the report with the connections that sock_diag reports, which takes longer the more there are."""
    try:
        return replace(report, connections=listeners.connections(listeners.numbers()), queues=listeners.queues())
    except SteeringError as error:
        log.debug("%s", error)
        return report
