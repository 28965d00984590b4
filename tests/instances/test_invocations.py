"""The journal of a failure is that of the invocation that failed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from unittest.mock import create_autospec

import pytest

from deployd.instances.invocations import Invocations
from deployd.model.failure import Failure, GateName
from deployd.model.instance import Instance, State
from deployd.state.history import History

FAILURE = Failure(GateName.NOTIFY, "instance 5 exited with status 3 before it was ready", instance=5)
BOOTING = Instance(5, 2, State.STARTING, started=100.0, invocation_id="first")
FAILED = replace(BOOTING, state=State.FAILED, started=103.0, ran=3.0)
AGAIN = replace(BOOTING, invocation_id="second", started=104.0, restarts=1)

Asked = tuple[str, str, float | None]


def failed_with(*seen: Instance, failure: Failure = FAILURE) -> tuple[Failure, list[Asked]]:
    asked: list[Asked] = []

    async def tail(invocation_id: str, unit: str = "", since: float | None = None) -> tuple[str, ...]:
        asked.append((invocation_id, unit, since))
        return ("no such table",)

    invocations = Invocations("demo", create_autospec(History, instance=True), tail)
    for item in seen:
        invocations.record([item])
    return asyncio.run(invocations.with_journal(failure, seen[-1:])), asked


def test_a_failed_instance_gives_its_own_journal() -> None:
    failure, asked = failed_with(BOOTING, FAILED)
    assert failure == replace(FAILURE, journal=("no such table",))
    # systemd has set `started` to the time of the crash: the start was earlier by the time it ran.
    assert asked == [("first", "demo@5.service", 99.0)]


def test_the_journal_of_a_restarted_instance_is_that_of_the_invocation_before() -> None:
    _, asked = failed_with(BOOTING, FAILED, AGAIN)
    assert asked == [("first", "", None)]


@pytest.mark.parametrize(
    ("failure", "seen"),
    [
        (replace(FAILURE, instance=None), FAILED),
        (replace(FAILURE, instance=6), FAILED),
        (replace(FAILURE, journal=("known",)), FAILED),
        (FAILURE, replace(FAILED, invocation_id="")),
    ],
)
def test_the_journal_is_not_read_in_vain(failure: Failure, seen: Instance) -> None:
    assert failed_with(seen, failure=failure) == (failure, [])
