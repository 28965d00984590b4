"""Instances of a steered app die or hang: what clients see of it."""

from __future__ import annotations

import time
from functools import partial

import pytest

from tests.host.stage import APP, DEADLINE, Json, Stage
from tests.host.steered import BLOCKING, FIRST_ONLY, asked, sockets, unharmed
from tests.routing.test_steered_sockets_host import instances, mended

PATIENT = ("--timeout", "30")
"""Clients that wait while the machine is slow."""


def ready(stage: Stage) -> set[int]:
    return {item["instance"] for item in stage.status()["instances"] if item["ready"]}


def all_serve(stage: Stage) -> None:
    """Wait until all instances get connections: one that was killed counts as busy until the next recount."""
    stage.machine.wait_for(lambda: sorted(instances(stage)) == [1, 2, 3, 4], what="connections to all instances")


def test_a_killed_instance_loses_its_accepted_connections_only(stage: Stage) -> None:
    """Queued connections wait for the next process, because systemd has the listener open."""
    stage.deploy("v1", routing="steered", service={"RestartSec": "1s"})
    with stage.load(200, 4, *PATIENT) as load:
        held = 0
        for number in (1, 2):
            before = stage.invocations()[number].invocation
            held += stage.kill(number)
            stage.machine.wait_for(partial(mended, stage, number, before), what="the instance to come back")
        record = load.stop()
    assert len(record.failed) <= held, (held, record.by_outcome())
    all_serve(stage)


@pytest.mark.thorough
def test_in_a_crash_loop_the_queue_migrates_to_other_instances(stage: Stage) -> None:
    """Its socket is closed while it is kept down, and a new one is opened when it starts."""
    broken = "/srv/broken"
    run = f'#!/bin/sh\n[ ! -e {broken} ] || [ "$DEPLOYD_INSTANCE" != 2 ] || exit 7\nexec /usr/bin/python3 app.py\n'
    stage.release("v1", files={"run": run})
    stage.deploy("v1", routing="steered", exec=["./run"])
    stage.machine.write(broken, "")
    with stage.load(200, 0, *PATIENT) as load:
        held = stage.kill(2)
        stage.machine.wait_for(lambda: crashes(stage, 2) > 4, timeout=DEADLINE, what="a crash loop")
        stage.machine.wait_for(lambda: 2 not in sockets(stage), what="its socket to close")
        assert asked(stage) == {1: 100}
        assert sorted(instances(stage)) == [1, 3, 4]
        stage.machine.run(["rm", broken])
        stage.machine.wait_for(lambda: len(ready(stage)) == 4, timeout=DEADLINE, what="all instances")
        record = load.stop()
    assert len(record.failed) <= held, (held, record.by_outcome())
    assert 2 in sockets(stage)
    all_serve(stage)


@pytest.mark.thorough
def test_a_hanging_instance_gets_one_connection_and_is_named(stage: Stage) -> None:
    """Others serve all later ones, until it continues."""
    stage.deploy("v1", routing="steered")
    pid = stage.pid(1)
    with stage.load(50, 0, *PATIENT) as load:
        stage.machine.run(["kill", "-STOP", str(pid)])
        stage.machine.wait_for(lambda: load_of(stage, 1)["stalled_for"], what="it to be late")
        stage.machine.wait_for(lambda: load_of(stage, 1)["detail"], what="it to be named")
        found = load_of(stage, 1)
        assert (found["in_flight"], found["connections"], found["ready"]) == (1, 1, True)
        assert found["detail"].startswith("has not answered its request for ")
        words = stage.deployd("status", APP).stdout
        assert "instance 1 has not answered its request for " in words, words
        assert "steered (ebpf, least busy)" in words, words
        stage.machine.run(["kill", "-CONT", str(pid)])
        stage.machine.wait_for(lambda: not load_of(stage, 1)["in_flight"], what="it to have answered")
        unharmed(load.stop())


def test_a_new_instance_that_hangs_fails_the_rollout(stage: Stage) -> None:
    stage.deploy("v1", routing="steered")
    stage.configure(gate={**FIRST_ONLY, "watchdog": "2s"})
    with stage.load(100, 0, *PATIENT) as load:
        with stage.begin("rollout", "--release", stage.release("v2")) as begun:
            new = begun.until("instance", state="starting")["instance"]
            stage.machine.wait_for(lambda: weight(stage, new), what="it to serve")
            stage.machine.run(["kill", "-STOP", str(stage.pid(new))])
            ended = begun.end()
        assert ended.result == "rolled-back", ended
        assert f"instance {new} has not answered " in ended.reason, ended
        record = load.stop()
    assert len(record.failed) <= 1, (record.by_outcome(), record.failed)
    failure = stage.history()[0]["failure"]
    assert (failure["gate"], failure["instance"]) == ("watchdog", new)
    assert failure["waited"] >= 2


@pytest.mark.thorough
def test_a_generation_that_hangs_during_its_watch_is_taken_back(stage: Stage) -> None:
    stage.deploy("v1", routing="steered", gate={"watchdog": "2s"}, rollout={"watch": "5min"})
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    with stage.load(100, 0, *PATIENT) as load:
        time.sleep(0.1)
        stage.machine.run(["kill", "-STOP", str(stage.pid(min(ready(stage))))])
        stage.machine.wait_for(lambda: stage.status()["generation"] == 3, timeout=DEADLINE, what="the rollback")
        record = load.stop()
    assert len(record.failed) <= 1, (record.by_outcome(), record.failed)
    back = stage.history()[0]
    assert (back["cause"], back["result"]) == ("watch", "succeeded")
    assert "hung after the rollout" in back["reason"]


def load_of(stage: Stage, number: int) -> Json:
    return next(item for item in stage.status()["instances"] if item["instance"] == number)


def crashes(stage: Stage, number: int) -> int:
    return int(next(item["crashes"] for item in stage.status()["instances"] if item["instance"] == number))


def weight(stage: Stage, number: int) -> float:
    return float(next(item["weight"] for item in stage.status()["instances"] if item["instance"] == number) or 0)


@pytest.mark.thorough
def test_the_drain_of_a_hanging_instance_has_a_deadline(stage: Stage) -> None:
    """Its queue stays full: it is killed after its stop time-out, and other instances serve the queue."""
    files = {"blocking": BLOCKING, "seconds": "0"}
    stage.release("v1", files=files)
    stage.configure(release="/srv/demo/v1", exec=["./blocking"], routing="steered", stop={"timeout": "2s"})
    assert stage.change("apply").status == 0
    with stage.load(50, 0, *PATIENT) as load:
        stage.machine.run(["kill", "-STOP", str(stage.pid(1))])
        ended = stage.rollout(stage.release("v2", files=files))
        assert ended.result == "succeeded", ended
        record = load.stop()
    assert len(record.failed) <= 1, (record.by_outcome(), record.failed)


@pytest.mark.thorough
def test_the_queue_of_an_instance_stopped_by_hand_migrates(stage: Stage) -> None:
    """Its socket is closed, so that connections that were queued before go to other instances."""
    stage.deploy("v1", routing="steered")
    with stage.load(400, 0, *PATIENT) as load:
        for number in (1, 2, 3):
            stage.machine.run(["systemctl", "stop", f"{APP}@{number}.service"])
        assert ready(stage) == {4}
        for number in (1, 2, 3):
            stage.machine.run(["systemctl", "start", f"{APP}@{number}.service"])
        stage.machine.wait_for(lambda: len(ready(stage)) == 4, what="all instances")
        record = unharmed(load.stop())
    assert record.percentile(100) < 5
    all_serve(stage)
