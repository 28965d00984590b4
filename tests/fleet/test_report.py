"""What a host knows of its daemon, and what a driver says of a fleet: pure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployd_cli.fleet.goal import Goal, Kind, OnFailure
from deployd_cli.fleet.host import newest, origin, release_id
from deployd_cli.fleet.record import Failure, HostRecord, Result, Slot
from deployd_cli.fleet.report import Awaited, document, events
from deployd_cli.fleet.turn import Rollout, State
from deployd_cli.fleet.view import Stored, View


def row(generation: int, token: int, result: str, **more: object) -> dict[str, Any]:
    fleet = {"id": f"f{token}", "token": token} if token else None
    return {"generation": generation, "fleet": fleet, "result": result, "reason": "", **more}


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([], (None, 0)),
        ([row(1, 0, "succeeded")], (None, 0)),
        ([row(3, 0, "succeeded"), row(2, 7, "running"), row(1, 5, "failed")], (Rollout(7, State.ROLLING), 2)),
        ([row(2, 7, "superseded", reason="why")], (Rollout(7, State.FAILED, "why"), 2)),
        ([row(2, 7, "succeeded")], (Rollout(7, State.SUCCEEDED), 2)),
        (
            [row(3, 0, "running", reason="it crashed"), row(2, 7, "succeeded", taken_back_by=3)],
            (Rollout(7, State.TAKEN_BACK, "it crashed"), 2),
        ),
    ],
)
def test_the_newest_rollout_of_a_fleet_is_that_with_the_highest_token(
    rows: list[dict[str, Any]], wanted: tuple[Rollout | None, int]
) -> None:
    assert newest(rows) == wanted


def test_a_rollback_leads_to_what_was_live_before() -> None:
    rows = [row(4, 0, "succeeded", origin=3), row(3, 7, "succeeded", origin=2), row(1, 5, "failed", origin=None)]
    assert [origin(rows, token) for token in (7, 5, 9)] == [2, 0, 0]


def test_a_release_elsewhere_has_its_path_as_name(tmp_path: Path) -> None:
    releases = str(tmp_path.resolve())
    assert release_id(f"{releases}/v1", releases) == "v1"
    assert release_id("/srv/elsewhere/v1", releases) == "/srv/elsewhere/v1"
    assert release_id("", releases) == ""


def fleet(*results: Result, token: int = 5, of: int = 0, on_failure: OnFailure = OnFailure.STOP) -> View:
    """Return a view of a goal with hosts h0, h1, … of these results."""
    names = tuple(f"h{number}" for number in range(len(results)))
    kind = Kind.ROLLBACK if of else Kind.ROLLOUT
    release = "" if of else "v2"
    goal = Goal("f", kind, names, (len(names),), release=release, of=of, on_failure=on_failure)
    records = {
        name: Stored(HostRecord("m", token if result is not Result.NONE else 0, "v2", "v1", result), 1)
        for name, result in zip(names, results, strict=True)
    }
    failed = [name for name, result in zip(names, results, strict=True) if result is Result.FAILED]
    failures = {name: Stored(Failure(token, "bad"), 1) for name in failed}
    return View(9, wide=True, goal=Stored(goal, token), hosts=records, failures=failures)


GOOD, BAD, OPEN = Result.SUCCEEDED, Result.FAILED, Result.NONE


@pytest.mark.parametrize(
    ("view", "result"),
    [
        (fleet(GOOD, OPEN), None),
        (fleet(GOOD, GOOD), "succeeded"),
        (fleet(GOOD, BAD), "failed"),
        (fleet(GOOD, BAD, on_failure=OnFailure.ROLLBACK), None),
        (fleet(GOOD, OPEN, token=6, of=5), None),
        (fleet(GOOD, GOOD, token=6, of=5), "rolled-back"),
        (fleet(GOOD, BAD, token=6, of=5), "failed"),
        (fleet(OPEN, OPEN, token=6), "superseded"),
        (View(9, wide=True), "failed"),
    ],
)
def test_a_driver_waits_for_the_end_of_its_goal_or_of_what_takes_it_back(view: View, result: str | None) -> None:
    found = Awaited(5).result(view)
    assert (found and found[0]) == result


def test_events_are_what_has_changed() -> None:
    before, now = document("shop", fleet(OPEN, OPEN)), document("shop", fleet(GOOD, OPEN))
    first = list(events(None, before))
    assert [item["event"] for item in first] == ["fleet"]
    assert list(events(before, before)) == []
    slot = Stored(Slot(5, "f", "v2", "v1", "boot", "invocation"), 1)
    rolling = list(events(None, document("shop", replace(fleet(OPEN, OPEN), slots={"h1": slot}))))
    assert [(item["event"], item.get("host"), item["state"]) for item in rolling] == [
        ("host", "h1", "rolling"),
        ("fleet", None, "waiting"),
    ]
    changed = list(events(before, now))
    assert (changed[0]["event"], changed[0]["host"], changed[0]["state"]) == ("host", "h0", "new")
