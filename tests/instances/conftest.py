"""Fixtures of the tests of instances."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from deployd.model.clock import Timestamp
from tests.instances.standby_stage import GROUP, MIB, NOW, Play, Scenario, Stage


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Return a function that runs a scenario on a stage at the time NOW."""
    monkeypatch.setattr("deployd.systemd.memory.of_cgroup", lambda group: 100 * MIB if group == GROUP else None)
    monkeypatch.setattr("deployd.systemd.memory.available", lambda: 1000 * MIB)
    monkeypatch.setattr(Timestamp, "now", lambda: NOW)

    def run(scenario: Scenario) -> None:
        async def whole() -> None:
            stage = Stage(tmp_path)
            try:
                await scenario(stage)
            finally:
                stage.recall.stop()
                await stage.standby.stop()

        asyncio.run(whole())

    return run
