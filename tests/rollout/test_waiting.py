"""When a wait is reported."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deployd.plan.waits import Wait, What
from deployd.rollout import waiting
from deployd.rollout.waiting import AFTER, Waiting

START, STOP = Wait(3, 7, What.START), Wait(1, 6, What.STOP)


def test_a_wait_is_reported_once_after_a_while() -> None:
    events: list[dict[str, Any]] = []
    wakes: list[float] = []
    read: list[None] = []
    emit = lambda _event, fields: events.append(fields)  # noqa: E731
    waited = Waiting(emit=emit, wake_after=wakes.append, lasted=lambda: read.append(None))
    waited.update({START: "has not sent READY=1 yet"}, 100.0)
    assert (events, wakes) == ([], [AFTER])
    waited.update({START: "has not sent READY=1 yet", STOP: "has not stopped yet"}, 100.0 + AFTER)
    waited.update({START: "has not sent READY=1 yet", STOP: "has not stopped yet"}, 101.0 + AFTER)
    assert events == [{"instance": 3, "generation": 7, "reason": "has not sent READY=1 yet"}]
    assert len(read) == 1
    waited.update({START: "has not sent READY=1 yet"}, 100.0 + 2 * AFTER)
    assert (len(events), len(read)) == (1, 2), "the units are read again as long as it lasts"
    waited.update({}, 102.0 + 2 * AFTER)
    waited.update({START: "has not sent READY=1 yet"}, 103.0 + 2 * AFTER)
    assert len(events) == 1
    assert wakes[-1] == AFTER


@pytest.mark.parametrize("what", [What.STAY_UP, What.PROBE, What.LISTEN])
def test_units_are_not_read_again_while_deployd_itself_lets_time_pass(what: What) -> None:
    reasons: list[str] = []
    wakes: list[float] = []
    read: list[None] = []
    emit = lambda _event, fields: reasons.append(fields["reason"])  # noqa: E731
    waited = Waiting(emit=emit, wake_after=wakes.append, lasted=lambda: read.append(None))
    for now in (100.0, 100.0 + AFTER, 100.0 + 2 * AFTER):
        waited.update({Wait(3, 7, what): "is ready"}, now)
    assert (reasons, wakes, read) == (["is ready"], [AFTER], [])


@pytest.mark.parametrize("slow", [False, True])
def test_something_that_takes_long_is_reported_while_it_lasts(monkeypatch: pytest.MonkeyPatch, slow: bool) -> None:
    monkeypatch.setattr(waiting, "AFTER", 0.0 if slow else 3600.0)

    async def work() -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        reported = asyncio.Event()

        def emit(_event: object, fields: dict[str, Any]) -> None:
            events.append(fields)
            reported.set()

        with Waiting(emit=emit, wake_after=lambda _: None, lasted=lambda: None).during("a lock"):
            if slow:
                await asyncio.wait_for(reported.wait(), 30)
        return events

    assert asyncio.run(work()) == ([{"reason": "a lock"}] if slow else [])
