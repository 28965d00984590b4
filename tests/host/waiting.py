"""Waits for conditions on a host, woken by signals on the bus, with a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from deployd.bus import DBUS, Bus, BusError
from tests.on_bus import run

T = TypeVar("T")

SYSTEMD = "org.freedesktop.systemd1"
MANAGER = "/org/freedesktop/systemd1"
PROPERTIES = "org.freedesktop.DBus.Properties"

DEPLOYD = "org.deployd1"
HEARD = (
    (SYSTEMD, PROPERTIES, "PropertiesChanged", "sa{sv}as"),
    (SYSTEMD, f"{SYSTEMD}.Manager", "JobRemoved", "uoss"),
    (SYSTEMD, f"{SYSTEMD}.Manager", "UnitRemoved", "so"),
    (DEPLOYD, f"{DEPLOYD}.Manager", "AppChanged", "ss"),
    (DEPLOYD, f"{DEPLOYD}.App", "RolloutEvent", "s"),
    (DBUS[0], DBUS[2], "NameOwnerChanged", "sss"),
)

# For conditions without a signal, such as the response of an application.
TICK = 0.25


class WaitError(AssertionError):
    """A condition did not become true in time."""


def unit_state(bus_address: str, unit: str, state: str, timeout: float) -> None:
    """Wait until the ActiveState of `unit` is `state`."""
    run(_unit_state(bus_address, unit, state, timeout))


def condition(bus_address: str, holds: Callable[[], T], timeout: float, what: str) -> T:
    """Wait until `holds` returns a true value, and return it. It is called again at each signal in HEARD."""
    return run(_condition(bus_address, holds, timeout, what))


async def _unit_state(bus_address: str, unit: str, state: str, timeout: float) -> None:
    """The first look is not limited by `timeout`: on a busy machine, a connection alone may take longer."""
    async with _signals(bus_address) as (bus, changed):
        current = await _active_state(bus, unit)
        try:
            async with asyncio.timeout(timeout):
                while current != state:
                    await changed.wait()
                    changed.clear()
                    current = await _active_state(bus, unit)
        except TimeoutError:
            raise WaitError(f"{unit} is {current}, not {state}, after {timeout:g} s") from None


async def _condition(bus_address: str, holds: Callable[[], T], timeout: float, what: str) -> T:
    try:
        async with asyncio.timeout(timeout), _signals(bus_address) as (_, changed):
            while True:
                changed.clear()
                if value := await asyncio.to_thread(holds):
                    return value
                await asyncio.wait({asyncio.ensure_future(changed.wait())}, timeout=TICK)
    except TimeoutError:
        raise WaitError(f"{what} did not happen within {timeout:g} s") from None


@asynccontextmanager
async def _signals(bus_address: str) -> AsyncIterator[tuple[Bus, asyncio.Event]]:
    """Open a connection with an event that is set by the signals in HEARD, subscribed before the first check."""
    bus = await Bus.connect(bus_address)
    changed = asyncio.Event()
    try:
        for name, interface, member, signature in HEARD:
            await bus.subscribe(name, lambda _: changed.set(), interface=interface, member=member, signature=signature)
        await bus.call(SYSTEMD, MANAGER, f"{SYSTEMD}.Manager", "Subscribe")
        yield bus, changed
    finally:
        await bus.close()


async def _active_state(bus: Bus, unit: str) -> str:
    try:
        [path] = await bus.call(SYSTEMD, MANAGER, f"{SYSTEMD}.Manager", "LoadUnit", "s", [unit])
        [state] = await bus.call(SYSTEMD, path, PROPERTIES, "Get", "ss", [f"{SYSTEMD}.Unit", "ActiveState"])
    except BusError as error:
        return error.name
    return str(state)
