"""An app with standby instances: real pins, freezer, standby and recall, with systemd and the kernel simulated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from deployd.errors import SystemdError
from deployd.instances.freezer import Freezer
from deployd.instances.recall import Recall
from deployd.instances.standby import Standby
from deployd.model.action import Action, Freeze
from deployd.model.app import App
from deployd.model.clock import Timestamp
from deployd.model.instance import Instance, State
from deployd.model.pace import Pace
from deployd.plan.idle_connections import Ending
from deployd.state.pins import Pins
from deployd.systemd.memory import Pressure
from tests.plan.worlds import app

MIB = 2**20
NOW = Timestamp(1000.0, 5000.0, "boot")
GROUP = "/system.slice/shop.service"


class Systemd:
    """Records the calls it gets."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.watchdog = 0
        self.refuses = False
        self.stopping = True

    async def freeze(self, unit: str) -> None:
        self.calls.append(f"freeze {unit}")
        if self.refuses:
            raise SystemdError("systemd refused KillUnit: no such process")

    async def thaw(self, unit: str) -> None:
        self.calls.append(f"thaw {unit}")
        if self.refuses:
            raise SystemdError("systemd refused KillUnit: no such process")

    async def is_stopping(self) -> bool:
        return self.stopping

    async def read(self, _unit: str, _interface: str, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: {"WatchdogUSec": self.watchdog, "ControlGroup": GROUP}[name] for name in names}


class NoPressure(Pressure):
    """A kernel that could report memory pressure, or refuses to (`refused`), and never reports any."""

    refused = False
    is_open = False

    def open(self) -> None:
        if self.refused:
            raise PermissionError(1, "Operation not permitted")
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


class Stage:
    """Instances 1 and 2 of generation 4 were replaced, 3 of generation 5 serves."""

    def __init__(self, directory: Path) -> None:
        self.pins = Pins(directory)
        for number, generation in ((1, 4), (2, 4), (3, 5)):
            self.pins.write_generation("shop", generation, {"run": ("", 0o755)}, f"/srv/{generation}")
            self.pins.pin("shop", number, generation)
        self.systemd = Systemd()
        self.settings = app(pace=Pace(standby=600.0))
        self.actions: list[Action] = []
        self.busy: set[int] = set()
        self.connections: Mapping[int, int | None] = {}
        self.ending = Ending.IN_USE
        self.up = True
        self.wakes = asyncio.Event()
        self.available: int | None = 1000 * MIB
        self.restart()

    def restart(self) -> None:
        """Start the daemon again."""
        self.freezer = Freezer("shop", self.systemd, self.pins, self.close_idle)  # type: ignore[arg-type]
        self.standby = Standby(
            "shop",
            self.pins,
            self.freezer,
            self,
            up=lambda: self.up,
            wake=self.wakes.set,
            connected=lambda _: self.connections,
            pressure=NoPressure,
            available=lambda: self.available,
        )
        self.recall = Recall("shop", self.pins, self, up=lambda: self.up, wake=self.wakes.set)

    def act(self, action: Action, settings: App) -> None:
        assert settings.name == "shop"
        self.actions.append(action)

    def is_busy(self, number: int) -> bool:
        return number in self.busy

    async def close_idle(self, _number: int) -> Ending:
        return self.ending

    async def freeze(self, *numbers: int) -> list[str]:
        return [await self.freezer.freeze(Freeze(number, 4), self.settings, 0) for number in numbers]

    async def update(self, now: float = NOW.monotonic, *, busy: bool = False, **states: State) -> list[Action]:
        """Update standby and return its actions; `one` and `two` are the states of instances 1 and 2."""
        known = {1: states.get("one", State.STANDBY), 2: states.get("two", State.STANDBY), 3: State.READY}
        records = self.pins.standby("shop")
        seen = [Instance(number, 4 if number in records else None, state) for number, state in known.items()]
        clock = Timestamp(now, NOW.wall + now - NOW.monotonic, "boot")
        self.actions = []
        await self.standby.update(seen, clock, self.settings, busy=busy, wanted=frozenset({5}))
        return self.actions

    def fire_pressure(self) -> None:
        """Have the kernel report memory pressure."""
        self.standby._on_pressure()


Scenario = Callable[[Stage], Coroutine[Any, Any, None]]
Play = Callable[[Scenario], None]
