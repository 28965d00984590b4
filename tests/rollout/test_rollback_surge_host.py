"""A rollback starts all good instances at the same time: as soon as they have booted, the bad ones are gone.

The good release boots until a test admits its instances, so what is shown is an order, however busy the machine is.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.host.begun import Begun
from tests.host.faults import kill_daemon
from tests.host.stage import APP, BARRIER, DEADLINE, INSTANCES, RELEASES, Stage
from tests.host.steered import fresh, unharmed
from tests.host.unit_journal import Change, What, capacity

ALL = range(1, INSTANCES + 1)
ROUTINGS = ["shared", "steered"]


def deploy_good(stage: Stage, **settings: object) -> None:
    """Deploy v1, whose instances boot from now on until they are admitted."""
    stage.configure(release=stage.release("v1", barrier=True), **settings)
    stage.admit()
    assert stage.change("apply").result == "succeeded"
    close_barrier(stage)


def close_barrier(stage: Stage) -> None:
    stage.machine.run(["find", BARRIER, "-type", "f", "-delete"])


def starting(begun: Begun, count: int) -> set[int]:
    """Return the next instances that are started, of which none may be ready in between."""
    found: set[int] = set()
    while len(found) < count:
        event = begun.until("instance")
        assert event["state"] != "ready", begun.events
        found |= {event["instance"]} if event["state"] == "starting" else set()
    return found


def booting(stage: Stage, generation: int) -> set[int]:
    """Return the instances of a generation that boot, as shown by status."""
    return {
        item["instance"]
        for item in stage.status()["instances"]
        if (item["generation"], item["state"]) == (generation, "starting")
    }


def before(changes: Iterable[Change], end: What) -> list[Change]:
    """Return the changes before the first one of this kind."""
    found: list[Change] = []
    for change in changes:
        if change.what is end:
            break
        found.append(change)
    return found


@pytest.mark.sampled
@pytest.mark.parametrize("routing", ROUTINGS)
def test_all_good_instances_boot_at_the_same_time(stage: Stage, routing: str) -> None:
    """While they boot all bad ones serve; each that is ready replaces one of them, and takes over new connections."""
    deploy_good(stage, routing=routing)
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    bad = stage.invocations()
    assert {ran.generation for ran in bad.values()} == {2}
    stage.journal.restart()
    with stage.load(rate=100, keepalive=0) as load:
        with stage.begin("rollback") as begun:
            good = starting(begun, INSTANCES)
            assert stage.invocations() == bad, "nothing is stopped before its replacement has passed"
            first, *others = sorted(good)
            stage.admit(first)
            begun.until("instance", state="ready", instance=first)
            begun.until("instance", state="stopped")
            assert len(stage.invocations()) == INSTANCES
            load.mark("first")
            served = {stage.get()["generation"] for _ in range(20)}
            assert routing == "shared" or served == {3}, "it takes the new connections of all bad ones"
            load.mark("others")
            stage.admit(*others)
            ended = begun.end()
        record = unharmed(load.stop())
    assert (ended.status, ended.result, ended.finished["duration"] > 0) == (0, "succeeded", True)
    assert routing == "shared" or set(fresh(record.between("first", "others")).generations()) == {3}
    changes = stage.journal.changes()
    at_once = before(changes, What.STARTED)
    assert {change.instance for change in at_once if change.what is What.STARTING} == good
    assert not [change for change in at_once if change.what is What.STOPPING]
    assert min(capacity(changes, bad)) >= INSTANCES
    assert {ran.generation for ran in stage.invocations().values()} == {3}


@pytest.mark.thorough
def test_a_bad_release_that_is_taken_back_after_its_rollout_leaves_at_once(stage: Stage) -> None:
    deploy_good(stage, rollout={"watch": "1h"})
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    lost = 0
    load = stage.load()
    for number in sorted(stage.invocations())[:3]:
        lost += stage.kill(number)
    stage.machine.wait_for(
        lambda: len(booting(stage, 3)) == INSTANCES, timeout=DEADLINE, what="all good instances to boot"
    )
    stage.admit()
    newest = stage.machine.wait_for(
        lambda: next(
            (item for item in stage.history() if item["result"] == "succeeded" and item["generation"] == 3), None
        ),
        timeout=DEADLINE,
        what="the end of the rollback",
    )
    assert newest is not None
    assert newest["cause"] == "watch"
    record = load.stop()
    assert len(record.failed) <= lost, record.summary()


@pytest.mark.thorough
@pytest.mark.parametrize("routing", ROUTINGS)
def test_an_aborted_rollout_starts_what_it_has_stopped_at_once(stage: Stage, routing: str) -> None:
    """Also if the daemon is killed while they boot."""
    deploy_good(stage, routing=routing)
    before_ = stage.invocations()
    with stage.load(rate=100) as load:
        with stage.begin("rollout", "--release", stage.release("v2", barrier=True)) as begun:
            for _ in range(3):
                stage.admit(begun.until("instance", state="starting")["instance"])
                begun.until("instance", state="stopped")
            assert stage.deployd("abort", APP).returncode == 0
            begun.until("rolling-back")
            good = starting(begun, 3)
            kill_daemon(stage)
            stage.machine.wait_for(lambda: booting(stage, 1) == good, what="the same instances to boot")
            stage.admit()
            assert begun.end().result == "aborted"
        unharmed(load.stop())
    after = stage.invocations()
    assert {ran.generation for ran in after.values()} == {1}
    assert len(before_.items() & after.items()) == 1, "the one that was not stopped still runs"


@pytest.mark.thorough
def test_a_rollback_surge_of_zero_is_a_rollout_like_any_other(stage: Stage) -> None:
    deploy_good(stage, rollout={"rollback_surge": 0})
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    stage.journal.restart()
    stage.admit()
    assert stage.change("rollback").result == "succeeded"
    counts = capacity(stage.journal.changes(), ALL)
    assert max(counts) <= INSTANCES + 1


@pytest.mark.thorough
def test_the_app_unit_wants_all_instances_after_a_rollback(stage: Stage) -> None:
    """They have other numbers than before, and must start at boot without the daemon."""
    deploy_good(stage)
    stage.admit()
    assert stage.rollout(stage.release("v2")).result == "succeeded"
    stage.journal.restart()
    assert stage.change("rollback").result == "succeeded"
    messages = [entry.get("MESSAGE", "") for entry in stage.journal.of_systemd()]
    reloads = [index for index, message in enumerate(messages) if message.startswith("Reloading.")]
    stops = [index for index, message in enumerate(messages) if message.startswith("Stopping demo@")]
    assert len(reloads) == 1
    assert reloads[0] > stops[-1], "no bad response waits for a daemon-reload"
    wanted = stage.show(f"{APP}.service", "Wants")["Wants"].split()
    there = stage.invocations()
    assert {f"{APP}@{number}.service" for number in there} <= set(wanted)
    stage.machine.run(["systemctl", "restart", f"{APP}.service"])
    assert stage.invocations().keys() == there.keys()
    assert {ran.generation for ran in stage.invocations().values()} == {3}
    assert stage.rollout(f"{RELEASES}/v2").result == "succeeded"
