"""The text of a status."""

from __future__ import annotations

import pytest

from deployd_cli.text.paint import PLAIN
from deployd_cli.text.status import overview_lines, status_lines
from tests.cli.fake_daemon import instance, status
from tests.cli.text.any_json import NOW, text


def test_status_of_one_app() -> None:
    instances = [instance(1, 7), instance(2, 7, "failed", restarts=3)]
    shown = status_lines(status(count=2, ready=1, instances=instances), NOW, width=80, paint=PLAIN)
    assert shown == [
        "demo: generation 7, 1 of 2 ready",
        "  /srv/demo/releases/7",
        "",
        "  INSTANCE  GENERATION  STATE    SINCE  RESTARTS   PID",
        "         1           7  ready   60 min         0  4001",
        "         2           7  failed  60 min         3  4002",
    ]


def test_instances_that_drain_are_shown_with_their_time() -> None:
    until = {"drains_until": "2026-01-02T04:34:05+00:00"}
    instances = [instance(1, 6, "draining") | until, instance(2, 6, "draining"), instance(3, 7)]
    shown = text(status_lines(status(count=1, instances=instances), NOW, width=120, paint=PLAIN))
    assert "draining: instances 1, 2 finish what they have begun, until 04:34:05 at most (30 min left)" in shown
    instances = [instance(1, 6, "draining"), instance(3, 7)]
    shown = text(status_lines(status(count=1, instances=instances), NOW, width=120, paint=PLAIN))
    assert "draining: instance 1 finishes what it has begun\n" in shown


def test_timers_are_shown_with_their_next_and_last_run() -> None:
    timers = [
        {"timer": "nightly", "active": True, "next": "2026-01-02T09:04:05+00:00", "result": None, "failed": False},
        {
            "timer": "report",
            "active": False,
            "next": None,
            "started": "2026-01-02T04:03:35+00:00",
            "result": "exit-code",
            "exit_status": 3,
            "failed": True,
            "generation": 7,
        },
    ]
    shown = status_lines(status(timers=timers), NOW, width=80, paint=PLAIN)
    assert shown[-4:] == [
        "",
        "  TIMER       NEXT  LAST RUN  GENERATION  RESULT",
        "  nightly   in 5 h         -           -  -",
        "  report   stopped  30 s ago           7  exited with status 3",
    ]
    short = status_lines(status(count=40, timers=timers), NOW, width=80, paint=PLAIN, height=20)
    assert (len(short), short[-4:]) == (20, shown[-4:])


def test_a_paused_rollout_says_what_can_be_done() -> None:
    rollout = {"phase": "paused", "from": 7, "to": 8, "reason": "after 1 instance"}
    shown = text(status_lines(status(rollout=rollout), NOW, width=80, paint=PLAIN))
    assert "paused 7 → 8" in shown
    assert "after 1 instance" in shown
    assert "deployd resume demo" in shown
    assert "deployd abort demo" in shown


def test_a_release_is_shortened_from_the_left() -> None:
    shown = status_lines(status(release="/srv/demo/releases/" + "x" * 80 + "/2026-01-02"), NOW, width=80, paint=PLAIN)
    assert shown[1].startswith("  …x")
    assert shown[1].endswith("/2026-01-02")


def test_weights_are_shown_where_they_matter() -> None:
    different, equal = ([instance(1, 7, weight=30), instance(2, 7, weight=weight)] for weight in (70, 30))
    assert "WEIGHT" in text(status_lines(status(routing="steered", instances=different), NOW, width=80, paint=PLAIN))
    for other in (status(routing="steered", instances=equal), status(instances=different)):
        assert "WEIGHT" not in text(status_lines(other, NOW, width=80, paint=PLAIN))


def test_an_instance_with_a_problem_is_shown_among_many_that_serve() -> None:
    many = [instance(number, 7) for number in range(1, 41)]
    many[30] = instance(31, 7, "failed")
    shown = status_lines(status(instances=many), NOW, width=80, paint=PLAIN, height=20)
    assert len(shown) == 20
    assert any(line.split()[:3] == ["31", "7", "failed"] for line in shown)
    assert shown[-1].strip() == "… 25 more: 25 ready (generation 7)"


@pytest.mark.parametrize("opened", [True, False])
def test_a_stopped_app_is_said_to_be_stopped_and_not_each_instance(opened: bool) -> None:
    stopped = [{**item, "state": "inactive", "exit_status": 0} for item in status()["instances"]]
    address = {"address": "127.0.0.1:80", "open": opened, "reason": ""}
    source = status(ready=0, health="stopped", instances=stopped, addresses=[address])
    shown = status_lines(source, NOW, width=None, paint=PLAIN)
    how = "start it with: systemctl start demo.service"
    assert f"  stopped; {'the next connection starts it, or ' if opened else ''}{how}" in shown
    assert not any("exited" in line for line in shown)


def test_on_a_short_terminal_what_can_be_done_and_the_failed_instance_stay() -> None:
    many = [instance(number, 7) for number in range(1, 41)]
    many[30] = instance(31, 7, "failed")
    rollout = {"phase": "paused", "from": 7, "to": 8, "reason": "after 1 instance"}
    source = status(count=40, instances=many, rollout=rollout, boot={"count": 9, "median": 2.0, "max": 3.0})
    shown = status_lines(source, NOW, width=80, paint=PLAIN, height=9)
    assert [line.strip() for line in shown[:2]] == ["demo: generation 7, 40 of 40 ready", "paused 7 → 8"]
    assert any("deployd resume demo" in line for line in shown)
    assert shown[-2].split()[:3] == ["31", "7", "failed"]
    assert shown[-1] == "  … 38 more: 38 ready (generation 7)"
    assert status_lines(source, NOW, width=80, paint=PLAIN, height=3)[-1].endswith("more lines")
    assert "  /srv/demo/releases/7" in status_lines(source, NOW, width=80, paint=PLAIN, height=60)


def test_apps_with_a_problem_stay_in_a_list_that_is_too_long() -> None:
    apps = [status(f"app{number}") for number in range(20)]
    apps[13] = status("app13", ready=1)
    apps[17] = status("app17", rollout={"phase": "rolling", "from": 7, "to": 8})
    shown = overview_lines(apps, width=80, paint=PLAIN, height=6)
    assert [line.split()[0] for line in shown] == ["APP", "app0", "app1", "app13", "app17", "…"]
    assert shown[-1] == "… 16 more apps"
    assert len(overview_lines(apps, width=80, paint=PLAIN)) == 21


def test_process_types_are_shown_below_the_app() -> None:
    worker = status(count=2) | {"desired": 3}
    shown = status_lines(status(processes={"worker": worker}), NOW, width=80, paint=PLAIN)
    at = shown.index("  worker: 2 of 3 ready")
    assert shown[at - 1] == ""
    assert shown[at + 1].split()[:3] == ["INSTANCE", "GENERATION", "STATE"]
    assert len(shown[at + 2 :]) == 2
    short = status_lines(status(count=40, processes={"worker": worker}), NOW, width=80, paint=PLAIN, height=20)
    assert (len(short), short[-2:]) == (20, ["", "  worker: 2 of 3 ready"])
    rows = overview_lines([status(processes={"worker": worker})], width=80, paint=PLAIN)
    assert rows[-1].split()[:5] == ["worker", "7", "2", "of", "3"]
