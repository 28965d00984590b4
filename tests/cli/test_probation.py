"""The words for a generation that is watched after its rollout."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from deployd_cli.text.event import event_line
from deployd_cli.text.history import history_lines
from deployd_cli.text.paint import PLAIN
from deployd_cli.text.probation import probation_words, resumed_words, watched_until

UNTIL = "2026-11-26T14:32:10.123+00:00"
AT = f"{datetime(2026, 11, 26, 14, 32, 10, tzinfo=UTC).astimezone():%H:%M:%S}"
WATCH = {"generation": 7, "until": UNTIL, "returns_to": 6, "reason": "", "failed": False, "crashes": 0}


@pytest.mark.parametrize(
    ("watch", "words"),
    [
        (None, ""),
        ({}, ""),
        (WATCH, f"watched until {AT}; a failure returns to generation 6"),
        ({**WATCH, "crashes": 1}, f"watched until {AT}, 1 crash so far; a failure returns to generation 6"),
        (
            {**WATCH, "crashes": 2, "returns_to": None, "reason": "it is irreversible"},
            f"watched until {AT}, 2 crashes so far; a failure is only reported, as it is irreversible",
        ),
        (
            {**WATCH, "failed": True, "until": None, "reason": "instance 1 crashed 3 times"},
            "generation 7 failed after its rollout: instance 1 crashed 3 times",
        ),
    ],
)
def test_a_status_says_until_when_and_what_a_failure_leads_to(watch: Any, words: str) -> None:
    assert probation_words({"watch": watch}) == words


@pytest.mark.parametrize("value", [None, 7, "soon", "9999-12-31T23:59:59-23:59"])
def test_a_time_that_is_not_known_is_left_out(value: object) -> None:
    assert watched_until({"watched_until": value}) == ""


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"state": "started", "until": UNTIL}, f"generation 7 is watched until {AT}"),
        ({"state": "ended"}, "generation 7 is no longer watched: it did not fail"),
        ({"state": "accepted"}, "generation 7 is no longer watched, by request"),
        ({"state": "failed", "reason": "it crashed"}, "generation 7 failed after its rollout: it crashed"),
        ({"state": "odd"}, "watch of generation 7 odd"),
    ],
)
def test_events(event: dict[str, str], line: str) -> None:
    assert event_line({"event": "watch", "app": "shop", "generation": 7, **event}) == f"shop: {line}"


def test_a_generation_that_was_taken_back_names_the_one_that_replaced_it() -> None:
    event = {"event": "taken-back", "app": "shop", "generation": 7, "by": 8, "reason": "instance 1 crashed"}
    assert event_line(event) == "shop: generation 7 was taken back by generation 8: instance 1 crashed"
    rows = [{"generation": 7, "result": "succeeded", "taken_back_by": 8, "reason": "instance 1 crashed"}]
    lines = history_lines({"generations": rows}, datetime.now(UTC), width=None, paint=PLAIN)
    assert lines[-1] == "     taken back by generation 8: instance 1 crashed"


def test_a_resume_says_what_it_did() -> None:
    assert resumed_words({"rollout": None, "watch": WATCH}, "shop") == (
        "shop: generation 7 is accepted and no longer watched"
    )
    assert resumed_words({"rollout": {"phase": "paused"}, "watch": WATCH}, "shop").startswith("shop: resumed; follow")
