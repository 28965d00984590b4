"""Waits for things to happen in a host: an event wakes, a deadline bounds."""

from __future__ import annotations

import asyncio
import gc
import warnings

from deployd.bus import Bus, BusError, Signal

SYSTEMD = "org.freedesktop.systemd1"
MANAGER = "/org/freedesktop/systemd1"
PROPERTIES = "org.freedesktop.DBus.Properties"


class WaitError(AssertionError):
    """What was waited for did not happen in time."""


def unit_state(bus_address: str, unit: str, state: str, timeout: float) -> None:
    """Wait until the ActiveState of `unit` is `state`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # dbus-next never closes its socket: the collector does
        asyncio.run(_unit_state(bus_address, unit, state, timeout))
        gc.collect()


async def _unit_state(bus_address: str, unit: str, state: str, timeout: float) -> None:
    bus = await Bus.connect(bus_address)
    changed = asyncio.Event()

    def wake(signal: Signal) -> None:
        if signal.sender:
            changed.set()

    current = "unknown"
    try:
        async with asyncio.timeout(timeout):
            bus.on_signal(wake)
            # before the first look, so that no change is missed
            await bus.add_match(f"type='signal',sender='{SYSTEMD}',interface='{PROPERTIES}',member='PropertiesChanged'")
            await bus.call(SYSTEMD, MANAGER, f"{SYSTEMD}.Manager", "Subscribe")
            while True:
                changed.clear()
                current = await _active_state(bus, unit)
                if current == state:
                    return
                await changed.wait()
    except TimeoutError:
        raise WaitError(f"{unit} is {current}, not {state}, after {timeout:g} s") from None
    finally:
        await bus.close()


async def _active_state(bus: Bus, unit: str) -> str:
    try:
        [path] = await bus.call(SYSTEMD, MANAGER, f"{SYSTEMD}.Manager", "LoadUnit", "s", [unit])
        [state] = await bus.call(SYSTEMD, path, PROPERTIES, "Get", "ss", [f"{SYSTEMD}.Unit", "ActiveState"])
    except BusError as error:
        return error.name
    return str(state)
