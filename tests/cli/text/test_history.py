"""The text of a history."""

from __future__ import annotations

from deployd_cli.text.history import history_lines
from deployd_cli.text.paint import PLAIN
from tests.cli.fake_daemon import generation_row
from tests.cli.text.any_json import NOW


def test_history_shows_the_measured_duration_although_the_clock_was_set_back() -> None:
    rows = [generation_row(8, "running"), generation_row(7, finished="2020-01-01T00:00:00+00:00", duration=75.0)]
    _, running, done = history_lines({"generations": rows}, NOW, width=None, paint=PLAIN)
    assert running.split()[5:7] == ["-", "4"]
    assert done.split()[5:7] == ["75", "s"]


def test_history_fits_a_small_terminal_and_cuts_no_reason() -> None:
    reason = "instance 5 exited with status 3 before it was ready, and has a reason that is too long for a line"
    history = {"app": "demo", "generations": [generation_row(8, "rolled-back", reason=reason), generation_row(7)]}
    shown = history_lines(history, NOW, width=80, paint=PLAIN)
    assert " ".join(word for line in shown[2:4] for word in line.split()) == reason
    assert shown[1].split()[:3] == ["8", "rolled-back", "rollout"]
    assert shown[4].split() == [
        "7",
        "succeeded",
        "rollout",
        "02",
        "Jan",
        "03:04",
        "6.2",
        "s",
        "4",
        "0",
        "…o/releases/7",
    ]


def test_history_counts_the_instances_of_all_process_types() -> None:
    types = {"worker": {"replaced": [1, 2], "adopted": [3]}, "clock": {"replaced": [], "adopted": [1]}}
    _, row = history_lines({"generations": [generation_row(7, processes=types)]}, NOW, width=None, paint=PLAIN)
    assert row.split()[7:9] == ["6", "2"], "four of web are replaced"
