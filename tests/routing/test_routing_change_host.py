"""A deployed app changes from one shared socket to sockets of each instance, and back, under load."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from tests.host.stage import APP, DEADLINE, INSTANCES, PORT, Stage
from tests.host.steered import asked, generations, kept, sockets, unharmed
from tests.routing.routing_change import BOTH_WAYS, boot_without_daemon, kill_twice, other, start_daemon
from tests.units.listen_change import FIRST, SECOND, STARTER, TEMPLATE, UMBRELLA, unit_files, wanted_at_boot

ADDRESS = f"127.0.0.1:{PORT}"
STEERED_UNITS = {UMBRELLA, TEMPLATE, f"{APP}:start@.service"}
SHARED_AGAIN = {UMBRELLA, TEMPLATE, SECOND, STARTER}


def texts(stage: Stage) -> dict[str, str]:
    """Return the unit files, without the app unit, which may want some numbers more."""
    return {name: text for name, (_, text) in unit_files(stage).items() if name != UMBRELLA}


def check_settled(stage: Stage, routing: str, units: Collection[str]) -> None:
    """Check that nothing is left of the other routing."""
    status = stage.status()
    assert status["routing"] == routing
    assert [item["open"] for item in status["addresses"]] == [True]
    assert unit_files(stage).keys() == set(units)
    if routing == "steered":
        assert status["steering"] == "ebpf", status
        assert sockets(stage) == {item["instance"] for item in status["instances"]}
        assert sum(asked(stage).values()) == 100
        assert wanted_at_boot(stage) == set()
        assert kept(stage)
    else:
        assert status["steering"] is None, status
        assert sockets(stage) == set()
        assert kept(stage) == 0
        assert "ReusePort" not in "".join(text for _, text in unit_files(stage).values())
    assert stage.machine.run(["systemctl", "--failed", "--quiet"]).stdout == ""


@pytest.mark.sampled
@pytest.mark.parametrize("release", ["v1", "v2"], ids=["same-release", "new-release"])
def test_routing_changes_to_steered_and_back(stage: Stage, release: str) -> None:
    stage.deploy("v1", routing="shared", listen=[ADDRESS])
    with stage.load(100, 4) as load:
        for routing, units in (("steered", STEERED_UNITS), ("shared", SHARED_AGAIN), ("steered", STEERED_UNITS)):
            stage.configure(routing=routing, release=stage.release(release))
            ended = stage.change("apply")
            assert ended.result == "succeeded", ended
            assert len(ended.instances("starting")) == INSTANCES
            check_settled(stage, routing, units)
            diff = stage.deployd("units", APP, "--diff")
            assert (diff.returncode, diff.stdout) == (0, ""), diff
        unharmed(load.stop())


def test_a_rollback_brings_the_old_routing_back(stage: Stage) -> None:
    stage.deploy("v1", routing="shared", listen=[ADDRESS])
    with stage.load(100, 4) as load:
        stage.configure(routing="steered", release=stage.release("v2"))
        assert stage.change("apply").result == "succeeded"
        assert stage.change("rollback").result == "succeeded"
        check_settled(stage, "shared", SHARED_AGAIN)
        unharmed(load.stop())


@pytest.mark.thorough
@BOTH_WAYS
def test_a_failed_change_leaves_the_old_routing(stage: Stage, routing: str) -> None:
    stage.deploy("v1", routing=other(routing), listen=[ADDRESS])
    before = texts(stage)
    with stage.load(100, 4) as load:
        stage.configure(routing=routing, release=stage.release("v2", mode="crash"))
        ended = stage.change("apply")
        assert ended.result == "rolled-back", ended
        check_settled(stage, other(routing), STEERED_UNITS if routing == "shared" else {FIRST, UMBRELLA, TEMPLATE})
        assert texts(stage) == before
        stage.configure(release=stage.release("v3"))
        ended = stage.change("apply")
        assert ended.result == "succeeded", ended
        unharmed(load.stop())


@pytest.mark.thorough
@BOTH_WAYS
def test_a_daemon_that_is_killed_in_between_continues(stage: Stage, routing: str) -> None:
    stage.deploy("v1", routing=other(routing), listen=[ADDRESS])
    stage.configure(routing=routing, release=stage.release("v2", barrier=True))
    with stage.load(100, 4) as load, stage.begin("apply") as begun:
        kill_twice(stage, begun)
        ended = begun.end()
        assert ended.result == "succeeded", ended
        check_settled(stage, routing, STEERED_UNITS if routing == "steered" else SHARED_AGAIN)
        unharmed(load.stop())


@pytest.mark.thorough
@BOTH_WAYS
def test_a_boot_in_between_opens_both_kinds_of_sockets(own_stage: Stage, routing: str) -> None:
    stage, machine = own_stage, own_stage.machine
    stage.deploy("v1", routing=other(routing), listen=[ADDRESS])
    boot_without_daemon(stage, routing)
    machine.wait_for(lambda: generations(stage) == {1, 2}, what="answers of both")
    start_daemon(stage)
    with stage.load(100, 4) as load:
        machine.wait_for(lambda: stage.status()["rollout"] is None, timeout=DEADLINE, what="the end of the rollout")
        unharmed(load.stop())
    assert stage.history()[0]["result"] == "succeeded"
    check_settled(stage, routing, STEERED_UNITS if routing == "steered" else SHARED_AGAIN)


@pytest.mark.thorough
@BOTH_WAYS
def test_shares_are_exact_while_both_serve(stage: Stage, routing: str) -> None:
    stage.deploy("v1", routing=other(routing), listen=[ADDRESS])
    stage.configure(routing=routing, release=stage.release("v2"))
    with stage.load(100, 4) as load:
        with stage.begin("apply", "--canary", "1") as begun:
            begun.until("paused")
            for share in (0, 25, 100):
                weight = stage.deployd("weight", APP, "2", f"{share}%")
                if routing == "shared":
                    assert "share one socket" in weight.stderr
                    break
                assert weight.returncode == 0, weight
                assert asked(stage) == {1: 100 - share, 2: share}
                found = [int(stage.get()["generation"]) for _ in range(100)].count(2)
                assert found == share if share in (0, 100) else abs(found - share) < 15
        assert stage.change("abort", "--wait").result == "aborted"
        check_settled(stage, other(routing), set(unit_files(stage)))
        unharmed(load.stop())


@pytest.mark.thorough
def test_an_app_is_steered_if_its_file_does_not_say_shared(stage: Stage) -> None:
    stage.deploy("v1", routing="shared", listen=[ADDRESS])
    stage.configure(routing=None)
    with stage.load(100, 4) as load:
        ended = stage.change("apply")
        assert ended.result == "succeeded", ended
        check_settled(stage, "steered", STEERED_UNITS)
        stage.configure(socket={"ReusePort": True})
        assert stage.change("apply").result == "succeeded"
        status = stage.status()
        assert (status["routing"], status["steering"]) == ("shared", "none")
        assert status["steering_reason"].startswith("ReusePort of [socket]")
        unharmed(load.stop())
    check = stage.deployd("check", APP)
    assert "routing is left out, and the instances share one socket" in check.stdout + check.stderr
