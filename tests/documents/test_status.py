"""The documents of status, history, repair and plan."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from deployd.documents.status import Snapshot, dry_run, history, repaired, status
from deployd.model.action import Start, Stop, Unpin
from deployd.model.address import Address
from deployd.model.clock import iso
from deployd.model.failure import Failure, GateName
from deployd.model.generation import Cause, Result
from deployd.model.host_drain import HostDrain
from deployd.model.instance import Instance, State
from deployd.model.probation import Probation
from deployd.model.rollout import Hold, Pause, Phase, Rollout
from deployd.plan.planner import Verdict
from deployd.plan.simulation import Outcome, Step
from deployd.routing import Report
from deployd.routing.report import Choice
from deployd.state.totals import CRASHES, Total
from tests.calls import Calls
from tests.state.four_rollouts import generation

SNAPSHOT = Snapshot(
    "demo",
    generation=generation(7, Result.SUCCEEDED),
    rollout=None,
    target=None,
    instances=(),
    releases={7: "/srv/demo/7"},
    desired=2,
    boot=1_700_000_000.0,
    troubles={},
    restarts={},
    boots=None,
    routing=Report(),
    standby=None,
    up=True,
    probation=None,
    crashes=0,
    last=None,
    totals={},
    drain=None,
    fence=None,
    history_error="",
)


def shown(**more: Any) -> dict[str, Any]:
    return status(replace(SNAPSHOT, **more))


def calls(instances: int) -> int:
    """Return how many calls the status of so many instances takes."""
    items = tuple(Instance(number, 7, State.READY, ready_since=1.0) for number in range(1, instances + 1))
    found = Calls()
    sys.setprofile(found)
    try:
        shown(instances=items)
    finally:
        sys.setprofile(None)
    return found.total()


def test_an_instance_among_many_costs_no_more() -> None:
    """The status is sent to all that watch a rollout, several times a second."""
    few, many = calls(10), calls(100)
    assert many / 100 <= few / 10, (few, many)


def test_a_drain_of_the_host_or_of_the_app() -> None:
    since = 1_700_000_000.0
    found = [shown(drain=HostDrain(app, since, "why"))["drain"] for app in ("", "demo")]
    assert [item["what"] for item in found] == ["host", "app"]
    time = "2023-11-14T22:13:20.000+00:00"
    assert found[0] == {"what": "host", "since": time, "reason": "why", "generation": None}
    assert shown(drain=HostDrain("demo", since, "why", 7))["drain"]["generation"] == 7
    assert shown()["drain"] is None


def test_an_app_that_runs() -> None:
    instances = (
        Instance(1, 7, State.READY, started=10.0, ready_since=12.5),
        Instance(2, 7, State.STARTING, started=20.0),
        Instance(3, None, State.INACTIVE),
    )
    found = shown(instances=instances)
    assert (found["app"], found["generation"], found["release"]) == ("demo", 7, "/srv/demo/7")
    assert (found["desired"], found["ready"], found["rollout"]) == (2, 1, None)
    one, two = found["instances"]
    assert (one["unit"], one["state"], one["ready"]) == ("demo@1.service", "ready", True)
    assert (one["since"], one["boot"]) == ("2023-11-14T22:13:32.500+00:00", 2.5)
    assert (two["state"], two["ready"], two["boot"]) == ("starting", False, None)


def test_an_instance_stopped_by_hand_says_so_and_how_to_start_it() -> None:
    stopped = Instance(1, 7, State.INACTIVE, started=10.0, ended=False)
    failed = Instance(2, 7, State.FAILED, detail="exited with status 143 after it was ready", ended=False)
    one, two, three, four = shown(
        instances=(stopped, failed, replace(stopped, number=3, ended=None), replace(stopped, number=4, ended=True))
    )["instances"]
    again = "start it again with: systemctl start demo@1.service, or deployd restart demo"
    assert (one["state"], one["stopped_by_hand"], one["detail"]) == ("inactive", True, f"stopped by hand; {again}")
    assert two["detail"].startswith("stopped by hand (exited with status 143 after it was ready); ")
    assert [item["stopped_by_hand"] for item in (three, four)] == [False, False]
    rollout = Rollout("demo", 7, 8)
    assert not shown(instances=(stopped,), rollout=rollout)["instances"][0]["stopped_by_hand"]


def test_an_instance_that_clients_do_not_reach_is_not_ready() -> None:
    instances = (Instance(1, 7, State.READY), Instance(2, 7, State.READY))
    closed = Address("[::]:80", "demo.socket", open=False, reason="in use by nginx")
    found = shown(instances=instances, routing=Report(addresses=(closed,), unreachable={1: "closed", 2: "closed"}))
    assert (found["ready"], found["health"]) == (0, "down")
    assert found["addresses"] == [
        {"address": "[::]:80", "unit": "demo.socket", "open": False, "reason": "in use by nginx"}
    ]
    assert [(item["state"], item["ready"], item["detail"]) for item in found["instances"]] == [
        ("unreachable", False, "closed")
    ] * 2


def test_an_app_with_one_of_two_addresses_is_degraded() -> None:
    instances = (Instance(1, 7, State.READY), Instance(2, 7, State.READY))
    one, other = (Address(f"[::]:{port}", "demo.socket", open=port == 80) for port in (80, 81))
    found = shown(instances=instances, routing=Report(addresses=(one, other), unreachable={1: "", 2: "closed"}))
    assert found["health"] == "degraded"


def test_an_app_that_is_not_deployed() -> None:
    found = shown(generation=None, desired=0, releases={})
    assert (found["generation"], found["release"], found["routing"]) == (None, None, "shared")
    assert found["instances"] == []


def test_totals_have_each_result_and_are_unknown_with_the_history() -> None:
    found = shown(totals={"succeeded": Total(3, 7.5), CRASHES: Total(2)})["totals"]
    assert found["crashes"] == 2
    assert found["rollouts"]["succeeded"] == {"count": 3, "seconds": 7.5}
    assert found["rollouts"]["aborted"] == {"count": 0, "seconds": 0.0}
    assert set(found["rollouts"]) == {"succeeded", "failed", "rolled-back", "superseded", "aborted"}
    assert shown(history_error="history.sqlite is damaged")["totals"] is None


def test_a_history_that_cannot_be_used_is_reported() -> None:
    assert shown()["history_error"] is None
    assert shown(history_error="history.sqlite is damaged")["history_error"] == "history.sqlite is damaged"


def test_a_rollout_under_way_has_its_holds_and_its_failure() -> None:
    rollout = Rollout("demo", 7, 8, phase=Phase.PAUSED, pause=Pause.HELD, holds=(Hold(1, canary=True),), started=5.0)
    target = replace(generation(8), failure=Failure(GateName.NOTIFY, "instance 4 did not say READY=1", instance=4))
    found = shown(rollout=rollout, target=target)["rollout"]
    assert (found["phase"], found["from"], found["to"], found["pause"]) == ("paused", 7, 8, "held")
    assert found["waits_for"]
    assert [hold["new"] for hold in found["holds"]] == [1]
    assert found["failure"]["instance"] == 4
    rolling = shown(rollout=replace(rollout, phase=Phase.ROLLING))["rollout"]
    assert (rolling["pause"], rolling["waits_for"], rolling["how"]) == (None, None, None)


def test_history_pages_say_that_there_are_more() -> None:
    entries = [generation(number, Result.SUCCEEDED) for number in (7, 6)]
    found = history("demo", entries, 7, more=True, trouble="history.sqlite is damaged")
    assert [item["generation"] for item in found["generations"]] == [7, 6]
    assert (found["more"], found["generation"], found["history_error"]) == (True, 7, "history.sqlite is damaged")


def test_history_has_the_measured_duration() -> None:
    entries = [generation(8), replace(generation(7, Result.SUCCEEDED), finished=400.0, duration=6.20004)]
    rolling, done = history("demo", entries, 7)["generations"]
    assert (rolling["finished"], rolling["duration"], done["duration"]) == (None, None, 6.2)


def test_history_has_the_instances_of_each_process_type() -> None:
    worker = replace(generation(7, Result.SUCCEEDED), replaced=(1, 2), adopted=(3,))
    entries = [generation(8), replace(generation(7, Result.SUCCEEDED), replaced=(4,))]
    newest, first = history("demo", entries, 7, types={"worker": {7: worker, 5: worker}})["generations"]
    assert newest["processes"] == {}, "it had no worker"
    assert first["processes"] == {"worker": {"replaced": [1, 2], "adopted": [3]}}


def test_repair_reports_each_app() -> None:
    found = repaired(Path("/h"), None, {"demo": (7, Rollout("demo", 7, 8), ""), "other": (None, None, "damaged")})
    assert (found["history"], found["aside"]) == ("/h", None)
    assert found["apps"] == [
        {"app": "demo", "generation": 7, "rollout": 8, "history_error": None},
        {"app": "other", "generation": None, "rollout": None, "history_error": "damaged"},
    ]


def test_a_dry_run_leaves_out_pins() -> None:
    steps = (Step(Start(5, 8), 4), Step(Unpin(9), 5), Step(Hold(1, canary=True), 5), Step(Stop(4, 7, "replaced"), 4))
    outcome = Outcome(steps, (), Verdict.DONE, "", frozenset(), floor=4, ceiling=5, seconds=0.0)
    found = dry_run("demo", 7, 8, ("/srv/demo/7", "/srv/demo/8"), outcome, [])
    assert [item["action"] for item in found["actions"]] == ["start", "pause", "stop"]
    assert (found["from_release"], found["release"]) == ("/srv/demo/7", "/srv/demo/8")
    assert (found["from"], found["to"], found["floor"], found["ceiling"]) == (7, 8, 4, 5)


def test_a_first_deployment_that_came_to_nothing_says_why() -> None:
    last = replace(generation(1, Result.FAILED), reason="instance 1 exited with status 3")
    found = shown(generation=None, last=last)
    assert found["generation"] is None
    ended = {"generation": 1, "cause": "rollout", "result": "failed", "reason": last.reason}
    assert found["last_rollout"] == ended
    deployed = shown(last=last)
    assert (deployed["last_rollout"], deployed["last_failure"]) == (ended, None)
    assert shown()["last_rollout"] is None
    assert found["last_failure"] == {
        "generation": 1,
        "release": "/srv/demo/1",
        "result": "failed",
        "reason": "instance 1 exited with status 3",
        "failure": None,
    }


def test_a_generation_that_is_watched_and_one_that_was_taken_back() -> None:
    watched = Probation("demo", 8, 7, "", 0.0, 0.0, 300.0, "boot", ends=1_700_000_300.0)
    until = iso(1_700_000_300.0)
    assert shown(probation=watched, crashes=2)["watch"] == {
        "generation": 8,
        "until": until,
        "returns_to": 7,
        "reason": "",
        "failed": False,
        "crashes": 2,
    }
    failed = shown(probation=replace(watched, failed="it crashed"))["watch"]
    assert (failed["until"], failed["failed"], failed["reason"]) == (None, True, "it crashed")
    good, bad = generation(6, Result.SUCCEEDED), generation(7, Result.SUCCEEDED)
    back = replace(generation(8, Result.SUCCEEDED), cause=Cause.WATCH, origin=7)
    rows = history("demo", [back, bad, good], 8, probation=watched)["generations"]
    assert [row["taken_back_by"] for row in rows] == [None, 8, None]
    assert [row["watched_until"] for row in rows] == [until, None, None]
    back = replace(back, result=Result.ROLLED_BACK)
    assert history("demo", [back, bad], 7)["generations"][1]["taken_back_by"] is None


def test_an_instance_that_hangs_stays_ready_and_says_what_it_does_not_answer() -> None:
    instances = (Instance(1, 7, State.READY), Instance(2, 7, State.READY))
    words = "has not answered any of its 3 requests for 12 s, and does not read what clients send"
    routing = Report(
        steering="ebpf",
        choice=Choice.LEAST_BUSY,
        connections={1: 4, 2: 3},
        in_flight={1: 0, 2: 3},
        stalled={2: 12.3},
        hanging={2: words},
    )
    found = shown(instances=instances, routing=routing)
    assert (found["steering"], found["choice"], found["ready"]) == ("ebpf", "least busy", 2)
    one, two = found["instances"]
    assert (one["in_flight"], one["stalled_for"], one["connections"], one["detail"]) == (0, None, 4, "")
    assert (two["in_flight"], two["stalled_for"], two["state"], two["detail"]) == (3, 12.3, "ready", words)
