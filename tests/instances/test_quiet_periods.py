"""The time between the signal to begin nothing new and the signal to stop."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import AsyncMock

import pytest

from deployd.instances.quiet_periods import QuietPeriods
from deployd.model.app import StopSettings
from deployd.model.instance import Instance, State
from deployd.systemd import signals

UP = Instance(1, 1, State.READY, invocation_id="id1", main_pid=7)
LONG = StopSettings(quiet="SIGTSTP", quiet_for=3600.0)


async def waited(
    stop: StopSettings, item: Instance, seen: Instance | None, monkeypatch: pytest.MonkeyPatch, *, handles: bool = True
) -> list[Any]:
    """Return the signals that were sent. The wait must end, once `seen` is observed if that is given."""
    systemd, unused = AsyncMock(), Any
    monkeypatch.setattr(signals, "handles", lambda _pid, _name: handles)
    periods = QuietPeriods("shop", systemd, unused, unused)  # type: ignore[arg-type]
    wait = asyncio.ensure_future(periods.wait(item, stop))
    while seen is not None and not wait.done():
        await asyncio.sleep(0)
        periods.observed(lambda _number: seen)
    await asyncio.wait_for(wait, 30)
    return [call.args for call in systemd.signal_main.await_args_list]


@pytest.mark.parametrize(
    "seen", [Instance(1, 1, State.INACTIVE), Instance(1, 1, State.STOPPING, invocation_id="id1"), UP]
)
def test_it_ends_with_the_process_or_with_its_time(seen: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = StopSettings(quiet="SIGTSTP", quiet_for=0.01) if seen is UP else LONG
    assert asyncio.run(waited(stop, UP, seen, monkeypatch)) == [("shop@1.service", "SIGTSTP")]


def test_without_need_or_effect_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asyncio.run(waited(StopSettings(), UP, None, monkeypatch)) == []
    down = Instance(1, 1, State.FAILED)
    assert asyncio.run(waited(LONG, down, None, monkeypatch)) == []
    assert asyncio.run(waited(LONG, UP, None, monkeypatch, handles=False)) == [], "it would suspend the program"
