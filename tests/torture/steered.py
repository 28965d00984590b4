"""Additional checks of a steered app while no rollout is in progress."""

from __future__ import annotations

import asyncio
import time
from pathlib import PurePath

from tests.host.link import MachineError
from tests.host.stage import APP
from tests.torture.line import AWAY
from tests.torture.site import Json, Site

PATIENCE = 20.0
"""Seconds until the checks must hold, because an instance that lost its socket is drained and restarted first."""
INTERVAL = 0.2
CONNECTIONS = 8
"""Connections on which the version of the app is checked."""


async def what_is_wrong(site: Site, *, down: int | None, woken: bool) -> list[str]:
    """Return violations, an empty list for none.

    `down`: an instance that was stopped by request; `woken`: instances in standby may have been continued.
    """
    end = time.monotonic() + PATIENCE
    while True:
        wrong = await _check(site, down, woken)
        if not wrong or time.monotonic() > end:
            return wrong
        await asyncio.sleep(INTERVAL)  # sockets and shares follow with a delay, without a signal for each


async def _check(site: Site, down: int | None, woken: bool) -> list[str]:
    try:
        async with await site.client() as client:
            status = await client.status(APP)
        return [
            *_shares(status, down),
            *_sockets(site.pins(), site.records(), await site.sockets(), down),
            *await _processes(site, woken),
            *await asyncio.to_thread(_answers, site, status),
        ]
    except AWAY as error:
        return [f"the checks failed: {error}"]


def _shares(status: Json, down: int | None) -> list[str]:
    wrong = []
    if status["steering"] in (None, "none"):
        wrong.append(f"it is not steered: {status['steering']}, {status['steering_reason']}")
    for item in status["instances"]:
        here, weight = item["generation"] == status["generation"], item["weight"] or 0.0
        if here and item["ready"] and not weight and item["instance"] != down:
            wrong.append(f"instance {item['instance']} is ready and gets no connections: {item}")
        if not here and weight:
            wrong.append(f"instance {item['instance']} of generation {item['generation']} has a share: {item}")
    return wrong


def _sockets(pins: dict[int, int], records: dict[int, int], found: set[int], down: int | None) -> list[str]:
    wrong = []
    if lacking := pins.keys() - found - {down}:
        wrong.append(f"instances without an open socket: {sorted(lacking)}")
    if orphans := found - pins.keys() - records.keys():
        wrong.append(f"sockets open without an instance: {sorted(orphans)}")
    return wrong


async def _processes(site: Site, woken: bool) -> list[str]:
    wrong, known, records = [], site.pins() | site.records(), site.records()
    for number, pid in (await site.processes()).items():
        try:
            sleeps = site.state_of(pid) == "T"
        except (OSError, MachineError):
            continue  # just ended
        if number not in known:
            wrong.append(f"instance {number} runs, and has neither a pin nor a record of standby")
        if sleeps and number not in records:
            wrong.append(f"instance {number} is stopped (SIGSTOP), and not in standby")
        if not sleeps and number in records and not woken:
            wrong.append(f"instance {number} is in standby, and not stopped")
    return wrong


def _answers(site: Site, status: Json) -> list[str]:
    versions = {site.stage.get(timeout=5.0)["version"] for _ in range(CONNECTIONS)}
    expected = PurePath(status["release"]).name
    return [f"{sorted(versions)} answer, the app is at {expected}"] if versions != {expected} else []
