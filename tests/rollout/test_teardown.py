"""The teardown of an app is interrupted at each of its steps, and done again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from deployd.errors import DeploydError, StateError, SystemdError
from deployd.rollout.teardown import Teardown
from deployd.routing.kernel import Kernel
from deployd.state.pins import Pins
from deployd.systemd.comparison import UnitState
from deployd.systemd.daemon_reload import DaemonReload
from deployd.systemd.proxy import UnitRefused
from deployd.units.directory import UnitDirectory
from deployd.units.text import unit_files
from tests.bus.private_bus import run
from tests.state.four_rollouts import SETTINGS

NAME = SETTINGS.name
RUNNING = (f"{NAME}.socket", f"{NAME}.service", f"{NAME}@1.service", f"{NAME}@2.service")


class Systemd:
    """Its calls raise as `fails` says, by their count; a stop job takes `slow` seconds."""

    def __init__(self, fails: dict[int, Exception] | None = None, slow: float = 0.0) -> None:
        self.up = dict.fromkeys(RUNNING, "active")
        self.stopped: list[str] = []
        self.reloads = 0
        self.calls = 0
        self.restarts = 0
        self._fails = fails or {}
        self._slow = slow

    def _call(self) -> None:
        self.calls += 1
        if self.calls in self._fails:
            raise self._fails[self.calls]

    async def states(self, _patterns: list[str]) -> dict[str, UnitState]:
        self._call()
        return {unit: UnitState("loaded", active, "", 0) for unit, active in self.up.items()}

    async def stop(self, unit: str) -> asyncio.Future[str]:
        self._call()
        if unit not in self.up:
            raise UnitRefused(f"Unit {unit} not loaded")
        job: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def end() -> None:
            self.stopped.append(unit)
            if self.restarts:
                self.restarts -= 1
            else:
                self.up.pop(unit, None)
            if not job.done():
                job.set_result("unknown")  # says nothing, so the states of the units count

        asyncio.get_running_loop().call_later(self._slow, end)
        return job

    async def thaw(self, _unit: str) -> None:
        self._call()

    async def disable(self, _units: list[str]) -> None:
        self._call()

    async def reset_failed(self, _unit: str) -> None:
        self._call()

    async def reload(self) -> None:
        self._call()
        self.reloads += 1


class Site:
    """The unit files, pins and generation files of the app, in `directory`."""

    def __init__(self, directory: Path, systemd: Systemd) -> None:
        self.directory = directory
        self.systemd = systemd
        (directory / "units").mkdir(parents=True)
        units = UnitDirectory(directory / "units", others=())
        units.install(unit_files(SETTINGS, 2, str(directory)))
        self.pins = Pins(directory)
        self.pins.write_generation(NAME, 1, {"run": ("", 0o755)}, "/srv")
        for number in (1, 2):
            self.pins.pin(NAME, number, 1)
        reload, kernel = DaemonReload(systemd.reload), create_autospec(Kernel, instance=True)
        self.teardown = Teardown(systemd, units, reload, self.pins, kernel)  # type: ignore[arg-type]

    async def remove(self, timeout: float = 5.0) -> None:
        self.teardown.check(NAME)
        await self.teardown.run(NAME, timeout)

    def check_gone(self) -> None:
        assert self.systemd.up == {}
        assert list((self.directory / "units").iterdir()) == []
        assert not (self.directory / "apps" / NAME).exists()
        assert self.systemd.reloads >= 1


def test_sockets_are_stopped_first(tmp_path: Path) -> None:
    async def test() -> None:
        site = Site(tmp_path, Systemd())
        await site.remove()
        site.check_gone()
        assert site.systemd.stopped[0] == f"{NAME}.socket"

    run(test())


@pytest.mark.sampled
@pytest.mark.parametrize("error", [SystemdError("no"), RuntimeError("why"), asyncio.CancelledError()], ids=repr)
def test_an_interrupted_teardown_can_be_repeated(tmp_path: Path, error: Exception) -> None:
    async def test(at: int) -> int:
        site = Site(tmp_path / str(at), Systemd({at: error}))
        try:
            await site.remove()
        except (DeploydError, RuntimeError, asyncio.CancelledError):
            await site.remove()
        site.check_gone()
        return site.systemd.calls

    at, most = 1, 50
    while at < most and run(test(at)) >= at:
        at += 1
    assert 8 < at < most


def test_what_does_not_stop_in_time_is_an_error(tmp_path: Path) -> None:
    async def test() -> None:
        site = Site(tmp_path, Systemd(slow=30))
        with pytest.raises(SystemdError, match="did not stop within"):
            await site.remove(0.05)

    run(test())


def test_what_is_started_again_is_stopped_a_few_times(tmp_path: Path) -> None:
    async def test(restarts: int) -> None:
        site = Site(tmp_path / str(restarts), Systemd())
        site.systemd.restarts = restarts
        await site.remove()
        site.check_gone()

    run(test(3))
    with pytest.raises(SystemdError, match="started again each time"):
        run(test(1000))


def test_a_file_that_cannot_be_removed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        site = Site(tmp_path, Systemd())
        with monkeypatch.context() as patch:
            patch.setattr("deployd.state.disk.Disk.remove", _refuse)
            with pytest.raises(StateError, match="read-only"):
                await site.remove()
        await site.remove()
        site.check_gone()

    run(test())


def _refuse(*_: object) -> None:
    raise OSError(30, "Read-only file system")
