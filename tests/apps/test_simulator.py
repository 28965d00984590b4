"""The dry run of many instances is simulated in a process of its own, with the same outcome."""

from __future__ import annotations

import asyncio
from unittest.mock import AsyncMock

import pytest

from deployd.apps import simulator
from deployd.apps.simulator import SMALL, simulated
from deployd.errors import DeploydError, Refused
from deployd.model.rollout import Hold
from deployd.plan.goal import Goal
from deployd.plan.simulation import Outcome, simulate


def outcome(instances: int, *holds: Hold) -> Outcome:
    return asyncio.run(simulated(Goal(2, instances), (), holds, 100.0))


@pytest.mark.parametrize("instances", [4, SMALL, SMALL + 1])
def test_a_process_and_a_thread_have_the_same_outcome(instances: int, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = AsyncMock(wraps=asyncio.create_subprocess_exec)
    monkeypatch.setattr("asyncio.create_subprocess_exec", begun)
    hold = Hold(2, canary=True)
    assert outcome(instances, hold) == simulate(Goal(2, instances), (), one_by_one=True, holds=(hold,), now=100.0)
    assert begun.await_count == (instances > SMALL)


def test_a_simulation_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator, "DEADLINE", 0.0)
    with pytest.raises(Refused, match="stopped after"):
        outcome(SMALL + 1)


def test_a_process_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(DeploydError, match="status 1"):
        outcome(SMALL + 1)
    monkeypatch.setattr("sys.executable", "/no/such/python")
    with pytest.raises(DeploydError, match="No such file"):
        outcome(SMALL + 1)
