"""A small app with its real controller, pins and history on a simulated systemd, with a fault at any call."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

from deployd.apps.announcer import Announcer
from deployd.apps.host_draining import HostDraining
from deployd.files.workers import Workers
from deployd.instances import actuator, listening
from deployd.instances.commands import Commands
from deployd.model.clock import Timestamp
from deployd.model.generation import Cause, Generation, Result
from deployd.model.host_drain import RolloutDrain
from deployd.model.probation import Probation
from deployd.plan.backoff import Patience
from deployd.rollout import control_loop
from deployd.rollout.factory import ControllerFactory
from deployd.rollout.hook_runner import HookRunner
from deployd.rollout.hooks import Hooks
from deployd.rollout.members import Members
from deployd.rollout.teardown import Teardown
from deployd.routing.kernel import Kernel
from deployd.state.history import History
from deployd.state.host_drains import HostDrains
from deployd.state.pins import Pins
from deployd.state.spool import Spool
from deployd.systemd.manager import NOTHING
from deployd.systemd.notices import Account
from deployd.systemd.proxy import Properties
from deployd.systemd.tail import Tail
from deployd.systemd.transient import Transient
from tests.state.four_rollouts import SETTINGS, generation

NAME = SETTINGS.name
QUICK = 0.005
DEADLINE = 30.0
NEVER = RolloutDrain()


class Units(dict[str, Properties]):
    """Units by name, and how often one has changed."""

    revision = 0

    def __setitem__(self, unit: str, properties: Properties) -> None:
        self.revision += 1
        super().__setitem__(unit, properties)

    def known(self, unit: str) -> Properties:
        if unit not in self:
            self[unit] = Systemd.down()
        return self[unit]


class Systemd:
    """Units that start and stop at once, and send signals."""

    def __init__(self) -> None:
        self.units = Units({f"{NAME}.service": self.down()})
        self.changed: Callable[[str], None] = lambda _unit: None
        self.jobs = 0
        self.broken: Callable[[str], bool] = lambda _unit: False
        self.hanging: Callable[[str], bool] = lambda _unit: False
        """Units whose start does not end until they are stopped."""

    @staticmethod
    def down() -> Properties:
        return {"LoadState": "loaded", "ActiveState": "inactive", "SubState": "dead", "Job": [0, "/"]}

    def up(self) -> Properties:
        self.jobs += 1
        now = int(Timestamp.now().monotonic * 1e6)
        return {
            **self.down(),
            "ActiveState": "active",
            "SubState": "running",
            "InvocationID": self.jobs.to_bytes(16, "big"),
            "MainPID": self.jobs,
            "InactiveExitTimestampMonotonic": now,
            "ActiveEnterTimestampMonotonic": now,
            "ConditionResult": True,
        }

    def start_result(self, unit: str) -> Properties:
        if not self.broken(unit):
            return self.up()
        exited = {"Result": "exit-code", "ExecMainCode": 1, "ExecMainStatus": 3}
        return {**self.up(), "ActiveState": "failed", "SubState": "failed", "MainPID": 0, **exited}

    async def watch(self, unit: str) -> Properties:
        return self.units.known(unit)

    async def watch_all(self, units: Iterable[str]) -> None:
        for unit in units:
            self.units.known(unit)

    async def refresh(self, unit: str) -> None:
        self.units.known(unit)

    def unwatch(self, unit: str) -> None:
        pass

    @property
    def revision(self) -> int:
        return self.units.revision

    def properties(self, unit: str) -> Properties:
        return self.units.get(unit, NOTHING)

    async def read(self, unit: str, _interface: str, names: Sequence[str]) -> Properties:
        """Return properties that are empty where the unit has none: it has no cgroup, so nothing is known to listen."""
        return {name: self.units.get(unit, NOTHING).get(name, "") for name in names}

    async def job(self, unit: str) -> None:
        """Return no job: those that are queued end at once."""

    def mirrored(self, units: Iterable[str]) -> list[Properties]:
        return [self.units.get(unit, NOTHING) for unit in units]

    async def list_units(self, pattern: str) -> list[str]:
        return list(self.units)

    async def start(self, unit: str) -> asyncio.Future[str]:
        if self.hanging(unit):
            self.units[unit] = {**self.up(), "ActiveState": "activating", "SubState": "start"}
            self.changed(unit)
            return asyncio.get_running_loop().create_future()
        return self._queue(unit, lambda: self.start_result(unit))

    async def stop(self, unit: str) -> asyncio.Future[str]:
        return self._queue(unit, self.down)

    def _queue(self, unit: str, state: Callable[[], Properties]) -> asyncio.Future[str]:
        running = asyncio.get_running_loop()
        future: asyncio.Future[str] = running.create_future()

        def end() -> None:
            self.units[unit] = state()
            self.changed(unit)
            if not future.done():
                future.set_result("done")

        running.call_later(0.001, end)
        return future

    async def reset_failed(self, unit: str) -> None:
        if self.properties(unit).get("ActiveState") == "failed":
            self.units[unit] = self.down()

    async def resubscribe(self) -> None:
        pass

    async def is_stopping(self) -> bool:
        return False


class NoApps(list[Any]):
    """A registry without apps."""


class NoTimers:
    """The units of timers of an app without any."""

    def installed(self, _name: str) -> dict[str, str]:
        return {}


class Deployment:
    """A deployment whose units are all installed."""

    timers = NoTimers()

    async def install(self, *_: Any, **__: Any) -> frozenset[int]:
        return frozenset()

    async def load(self, _name: str) -> None:
        pass

    async def close_sockets(self, *_: Any) -> bool:
        return False

    def masked(self, _name: str) -> frozenset[int]:
        return frozenset()

    def unfit(self, _name: str) -> dict[int, str]:
        return {}

    def special(self, _name: str) -> frozenset[int]:
        return frozenset()

    def closing(self, _app: Any) -> tuple[str, ...]:
        return ()

    def listening(self, _name: str) -> tuple[()]:
        return ()

    def is_opening(self, _name: str) -> bool:
        return False

    def has_own_sockets(self, _name: str) -> bool:
        return False

    def steers(self, _name: str) -> bool:
        return False


@functools.cache
def idle(part: type[Any]) -> Any:
    """Return an instance of `part` that does nothing. All apps have the same: an autospec takes milliseconds."""
    return create_autospec(part, instance=True)


class Faulty:
    """Wraps `target` and calls `fault` before each of its methods, reads of systemd's mirror excepted."""

    def __init__(self, target: Any, fault: Callable[[str], None]) -> None:
        self._target = target
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found) or name in ("properties", "mirrored", "changed"):
            return found
        label = f"{type(self._target).__name__}.{name}"
        if inspect.iscoroutinefunction(found):

            async def call(*arguments: Any, **options: Any) -> Any:
                self._fault(label)
                return await found(*arguments, **options)

            return call

        def call_now(*arguments: Any, **options: Any) -> Any:
            self._fault(label)
            return found(*arguments, **options)

        return call_now


class Faults:
    """Raises at chosen calls while armed; `calls` lists all calls since then."""

    def __init__(self, chosen: Callable[[int, str], BaseException | None] = lambda _count, _label: None) -> None:
        self.calls: list[str] = []
        self.armed = False
        self.chosen = chosen

    def __call__(self, label: str) -> None:
        if self.armed:
            self.calls.append(label)
            if error := self.chosen(len(self.calls), label):
                raise error


class SimulatedApp:
    """The app `demo`, with two instances unless there are to be more."""

    def __init__(
        self,
        directory: Path,
        faults: Faults,
        instances: int = 2,
        known: Systemd | None = None,
        rollout_drain: RolloutDrain = NEVER,
    ) -> None:
        """`known`: the systemd of an earlier daemon."""
        self.faults = faults
        self.settings = replace(SETTINGS, exec=("/bin/true",), release=str(directory), instances=instances)
        self.systemd = known or Systemd()
        self.release = str(directory)
        self.history = History(directory)
        self.history.open()
        self.pins = Pins(directory)
        transient, commands, tail = idle(Transient), idle(Commands), idle(Tail)
        runner = HookRunner(transient, tail, commands)
        tail.account.return_value = Account()
        tail.before.return_value = ""
        tail.last.return_value = ()
        systemd, pins, history = (Faulty(item, faults) for item in (self.systemd, self.pins, self.history))
        factory = ControllerFactory(
            systemd,  # type: ignore[arg-type]
            history,  # type: ignore[arg-type]
            pins,  # type: ignore[arg-type]
            Faulty(Deployment(), faults),  # type: ignore[arg-type]
            idle(Kernel),
            idle(Teardown),
            tail,
            Hooks(transient, runner),
            runner,
            Spool(directory / "notifications"),
            transient,
            commands,
            Workers(),
            generations=200,
            patience=Patience(),
            command="/usr/bin/deployd",
        )
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        async def compare(_app: str) -> dict[str, Any]:
            return {}

        async def take_back(probation: Probation, reason: str) -> None:
            self.taken_back.append((probation.generation, reason))
            if self.refusals:
                raise self.refusals.pop(0)
            self.begin(3, Cause.WATCH)

        self.taken_back: list[tuple[int, str]] = []
        self.refusals: list[Exception] = []
        """The errors of the next attempts to take a generation back."""
        self.factory = factory
        self.drains = HostDrains(directory)
        draining = HostDraining(self.drains, rollout_drain, NoApps(), idle(Announcer))  # type: ignore[arg-type]
        self.draining: Any = Faulty(draining, faults)
        self.members = Members(NAME, history)  # type: ignore[arg-type]
        self.controller = factory.make(
            NAME,
            self.members,
            compare,
            take_back,
            self.draining,
            emit=lambda event, fields: self.events.put_nowait({"event": event, **fields}),
            changed=lambda: None,
        )
        self.systemd.changed = self.controller.on_unit_change

    def break_generation(self, number: int) -> None:
        """Have the instances of a generation exit at once."""
        prefix, suffix = f"{NAME}@", ".service"
        self.systemd.broken = lambda unit: (
            unit.startswith(prefix)
            and self.pins.read(NAME).get(int(unit.removeprefix(prefix).removesuffix(suffix))) == number
        )

    async def event(self, *names: str) -> dict[str, Any]:
        """Return the next event with one of these names."""
        async with asyncio.timeout(DEADLINE):
            while (event := await self.events.get())["event"] not in names:
                pass
            return event

    async def deploy(self) -> None:
        self.controller.start()
        await self.controller.ready()
        self.begin(1)
        assert (await self.event("finished"))["result"] == "succeeded"

    def crash(self, *numbers: int) -> None:
        """Have instances crash, which systemd starts again at once."""
        for number in numbers:
            unit = f"{NAME}@{number}.service"
            self.systemd.units[unit] = {
                **self.systemd.up(),
                "NRestarts": self.systemd.units[unit].get("NRestarts", 0) + 1,
            }
            self.systemd.changed(unit)

    def begin(self, number: int, cause: Cause = Cause.ROLLOUT) -> Generation:
        made = replace(generation(number), release=self.release, settings=self.settings, cause=cause)
        made = replace(made, origin=self.history.current(NAME))
        self.pins.write_generation(NAME, number, {"run": ("", 0o755)}, self.release)
        self.controller.begin(made)
        return made

    def running(self) -> dict[int, int]:
        """Return the generation of each instance that serves."""
        return {item.number: item.generation or 0 for item in self.controller.observe() if item.ready_since}

    def result(self, number: int) -> Result:
        found = self.history.generation(NAME, number)
        assert found is not None
        return found.result

    async def close(self) -> None:
        self.faults.armed = False
        await self.controller.stop()
        self.history.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry soon, and skip fsync."""
    monkeypatch.setattr("os.fsync", lambda _descriptor: None)
    for module in (actuator, control_loop):
        monkeypatch.setattr(module, "RETRY", QUICK)
    monkeypatch.setattr(listening, "AGAIN", QUICK)
