"""Whose last words are told: those of the invocation that failed."""

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


def told_of(*seen: Instance, failure: Failure = FAILURE) -> tuple[Failure, list[Asked]]:
    asked: list[Asked] = []

    async def tail(invocation_id: str, unit: str = "", since: float | None = None) -> tuple[str, ...]:
        asked.append((invocation_id, unit, since))
        return ("no such table",)

    witness = Invocations("demo", create_autospec(History, instance=True), tail)
    for item in seen:
        witness.record([item])
    return asyncio.run(witness.with_journal(failure, seen[-1:])), asked


def test_what_failed_had_the_last_word() -> None:
    told, asked = told_of(BOOTING, FAILED)
    assert told == replace(FAILURE, journal=("no such table",))
    # It began when it died, less the time it ran: systemd has moved `started` on.
    assert asked == [("first", "demo@5.service", 99.0)]


def test_what_was_started_again_already_has_other_words_to_say() -> None:
    _, asked = told_of(BOOTING, FAILED, AGAIN)
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
def test_nobody_is_asked_in_vain(failure: Failure, seen: Instance) -> None:
    assert told_of(seen, failure=failure) == (failure, [])
