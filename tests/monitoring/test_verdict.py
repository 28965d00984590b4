"""What monitoring is shown of an app, and the lines of the check plugin."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd_cli.monitoring.plugin import plugin_lines, unknown_line
from deployd_cli.monitoring.verdict import State, Verdict, verdict, worst
from tests.cli.fake_daemon import instance, status
from tests.cli.text.any_json import odd
from tests.monitoring.statuses import statuses

FIRST_LINE = re.compile(r"(OK|WARNING|CRITICAL) - [^|\n]+ \| [^|\n]+")
FIGURE = re.compile(r"'?[^'= ]+'?=[0-9]+(;[0-9]*:?(;[0-9]*:?(;[0-9]+)?)?)?")


@given(statuses)
def test_an_app_is_ok_if_it_is_as_desired_and_nothing_waits(found: Mapping[str, Any]) -> None:
    shown = verdict(found)
    closed = {item["address"] for item in found["addresses"]} - {
        item["address"] for item in found["addresses"] if item["open"]
    }
    failed = (found["last_rollout"] or {}).get("result") in ("failed", "rolled-back")
    paused = (found["rollout"] or {}).get("phase") == "paused"
    assert shown.state is not State.UNKNOWN
    assert bool(shown.reasons) == (shown.state is not State.OK), "each state but OK has a reason"
    if shown.state is State.OK:
        assert (found["health"], found["history_error"], failed, paused, closed) == ("ok", None, False, False, set())
        assert found["ready"] >= found["desired"]
    critical = found["health"] in ("down", "stopped") or found["history_error"] is not None or closed
    if critical or (found["desired"] and not found["ready"]):
        assert shown.state is State.CRITICAL
    elif (
        any(item["failed"] for item in found["timers"])
        or failed
        or paused
        or found["health"] == "degraded"
        or (found["watch"] or {}).get("failed")
    ):
        assert shown.state is State.WARNING


@given(st.lists(statuses, max_size=4), st.booleans())
def test_the_output_is_what_plugins_print(found: list[Mapping[str, Any]], single: bool) -> None:
    verdicts = [verdict(item) for item in found]
    first, *others = plugin_lines(verdicts, single=single)
    assert first.startswith(worst(verdicts).name)
    assert len(others) == max(0, len(found) - 1)
    assert not [line for line in others if "|" in line or "\n" in line]
    if found:
        assert FIRST_LINE.fullmatch(first), first
        figures = first.partition(" | ")[2].split()
        assert len(figures) == 3 * len(found)
        assert all(map(FIGURE.fullmatch, figures)), figures


@given(odd)
def test_no_status_is_too_odd(found: Mapping[str, Any]) -> None:
    lines = plugin_lines([verdict(found, found)], single=True)
    assert len(lines) == 1
    assert lines[0].isprintable()


def shown(**more: Any) -> tuple[int, str]:
    found = verdict(status(**more))
    (line,) = plugin_lines([found], single=True)
    return found.state, line


CRASHED = "crashed 5 times in 8 s (exited with status 1); next try at 12:00:01"


@pytest.mark.parametrize(
    ("more", "state", "text"),
    [
        ({}, 0, "OK - demo: 4 of 4 ready, generation 7 | ready=4;4:;1:;0 desired=4;;;0 restarts=0;;;0"),
        (
            {"ready": 3, "instances": [instance(1, 7, "failed", detail=CRASHED, retry_at="x", restarts=5)]},
            1,
            f"WARNING - demo: 3 of 4 ready, generation 7; instance 1 {CRASHED} | "
            "ready=3;4:;1:;0 desired=4;;;0 restarts=5;;;0",
        ),
        (
            {"ready": 2, "instances": [instance(n, 7, "failed", detail="was killed by SIGKILL") for n in (1, 2)]},
            1,
            "demo: 2 of 4 ready, generation 7; instance 1 was killed by SIGKILL (and 1 more) |",
        ),
        ({"ready": 3, "instances": []}, 1, "; 1 of 4 instances are not ready |"),
        ({"ready": 0}, 2, "; no instance is ready |"),
        ({"ready": 0, "health": "stopped"}, 2, "CRITICAL - demo: 0 of 4 ready, generation 7; the app is stopped |"),
        (
            {"addresses": [{"address": "[::]:80", "open": False, "reason": "in use"}]},
            2,
            "; [::]:80 is closed: in use |",
        ),
        ({"history_error": "x is damaged"}, 2, "; changes are refused: x is damaged |"),
        (
            {"rollout": {"phase": "paused", "from": 7, "to": 8, "waits_for": "resume or abort"}},
            1,
            "; rollout paused 7 → 8, waits for resume or abort |",
        ),
        (
            {"last_rollout": {"generation": 8, "result": "rolled-back", "cause": "rollout", "reason": "it | hung"}},
            1,
            "; the last rollout failed: generation 8: it / hung |",
        ),
        (
            {"last_rollout": {"generation": 9, "result": "succeeded", "cause": "watch", "reason": ""}},
            1,
            "; the last release was rolled back after it had been live |",
        ),
        (
            {"timers": [{"timer": "nightly", "failed": True, "result": "exit-code", "exit_status": 3}]},
            1,
            "the last run of nightly failed: exited with status 3",
        ),
        ({"timers": [{"timer": "nightly", "failed": False, "result": "success"}]}, 0, "OK"),
        ({"last_rollout": {"generation": 8, "result": "aborted", "cause": "rollout", "reason": "by request"}}, 0, "OK"),
        (
            {"generation": None, "desired": 0, "ready": 0, "instances": []},
            0,
            "0 of 0 ready, not deployed | ready=0;;;0",
        ),
    ],
)
def test_each_state_says_why(more: dict[str, Any], state: int, text: str) -> None:
    found, line = shown(**more)
    assert (found, text in line) == (state, True), line


LINK = {"generation": 7, "release": "/srv/demo/releases/8", "changes": []}


@pytest.mark.parametrize(
    ("more", "file", "state", "text"),
    [
        ({}, {"error": "demo.toml:3: no"}, 1, "generation 7; the app file is invalid: demo.toml:3: no |"),
        (
            {},
            {"changes": [{"key": "exec"}], "release": "/srv/demo/releases/7"},
            0,
            "; the app file has 1 changed key |",
        ),
        ({}, LINK, 0, "OK - demo: 4 of 4 ready, generation 7; release leads to /srv/demo/releases/8 |"),
        (
            {"last_rollout": {"generation": 8, "result": "rolled-back", "cause": "reload", "reason": "it hung"}},
            LINK,
            1,
            "; the last rollout failed: generation 8: it hung; release leads to /srv/demo/releases/8 |",
        ),
        ({"rollout": {"phase": "rolling", "from": 7, "to": 8}}, LINK, 0, "4 of 4 ready, generation 7 |"),
        ({}, {}, 0, "generation 7 |"),
    ],
)
def test_an_app_file_that_cannot_be_rolled_out_is_a_warning(
    more: dict[str, Any], file: dict[str, Any], state: int, text: str
) -> None:
    found = verdict(status(**more), file)
    (line,) = plugin_lines([found], single=True)
    assert (found.state, text in line) == (state, True), line


def test_the_worst_app_comes_first_with_the_figures_of_all() -> None:
    good, bad = (
        Verdict("a", State.OK, 2, 2, "3", 0),
        Verdict("b.c", State.CRITICAL, 0, 2, "1", 0, ("no instance is ready",)),
    )
    assert plugin_lines([good, bad]) == [
        "CRITICAL - b.c: 0 of 2 ready, generation 1; no instance is ready | "
        "a_ready=2;2:;1:;0 a_desired=2;;;0 a_restarts=0;;;0 b.c_ready=0;2:;1:;0 b.c_desired=2;;;0 b.c_restarts=0;;;0",
        "OK - a: 2 of 2 ready, generation 3",
    ]
    assert plugin_lines([]) == ["OK - no apps"]
    assert unknown_line("a | b") == "UNKNOWN - a / b"
