"""A deployed app with UNIX addresses changes from one shared socket to those of its generations, and back, under load.

The address is a socket with shared routing, and a symlink with steered routing.
"""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from deployd.model.address import set_aside
from tests.host.stage import APP, DEADLINE, INSTANCES, PORT, Stage
from tests.load.client import Load
from tests.routing.routing_change import BOTH_WAYS, boot_without_daemon, kill_twice, other, start_daemon
from tests.routing.test_steered_unix_host import OWN, answer, answers, load, named, unharmed
from tests.units.listen_change import UMBRELLA, unit_files

SOCKET = "/run/demo/http.sock"
MIXED = pytest.mark.parametrize("listen", [[SOCKET, f"127.0.0.1:{PORT}"], [SOCKET]], ids=["with-tcp", "alone"])


@pytest.fixture(autouse=True)
def _nothing_there(stage: Stage) -> None:
    """Remove what an earlier test left."""
    stage.machine.run(["rm", "-rf", str(Path(SOCKET).parent)])


def names(stage: Stage) -> set[str]:
    """Return what is in the directory of the address."""
    return {item.name for item in stage.machine.path(Path(SOCKET).parent).iterdir()}


def is_socket(stage: Stage) -> bool:
    directory = stage.machine.path(Path(SOCKET).parent)
    return stat.S_ISSOCK((directory / Path(SOCKET).name).lstat().st_mode)


def check_settled(stage: Stage, routing: str) -> None:
    """Check that nothing is left of the other routing."""
    status = stage.status()
    assert status["routing"] == routing, status
    assert [item["open"] for item in status["addresses"]] == [True] * len(status["addresses"])
    assert names(stage) == {Path(SOCKET).name}
    texts = "".join(text for _, text in unit_files(stage).values())
    assert set_aside(SOCKET) not in texts
    assert is_socket(stage) is (routing == "shared")
    assert stage.machine.path(OWN).exists() is (routing == "steered")
    if routing == "steered":
        assert named(stage).startswith(OWN)
    assert (f"{APP}:start@.service" in unit_files(stage)) is (routing == "steered")
    assert stage.machine.run(["systemctl", "--failed", "--quiet"]).stdout == ""


def ended_well(stage: Stage, running: Load, routing: str) -> None:
    check_settled(stage, routing)
    unharmed(running)


@pytest.mark.sampled
@MIXED
def test_routing_changes_to_steered_and_back(stage: Stage, listen: list[str]) -> None:
    stage.deploy("v1", routing="shared", listen=listen, user="www-data")
    with load(stage) as over_unix:
        for routing in ("steered", "shared", "steered", "shared"):
            stage.configure(routing=routing, release=stage.release("v1"))
            ended = stage.change("apply")
            assert ended.result == "succeeded", ended
            assert len(ended.instances("starting")) == INSTANCES
            check_settled(stage, routing)
            diff = stage.deployd("units", APP, "--diff")
            assert (diff.returncode, diff.stdout) == (0, ""), diff
            assert stage.rollout(stage.release("v2")).result == "succeeded"
        unharmed(over_unix)
    assert len(answers(stage, INSTANCES)) == INSTANCES
    assert stage.deployd("remove", APP).returncode == 0
    assert names(stage) == set()


@pytest.mark.thorough
def test_the_socket_is_opened_at_its_address_after_a_reboot(own_stage: Stage) -> None:
    stage = own_stage
    stage.deploy("v1", routing="steered", listen=[SOCKET])
    stage.configure(routing="shared")
    assert stage.change("apply").result == "succeeded"
    stage.machine.reboot()
    stage.machine.wait_unit(UMBRELLA)
    check_settled(stage, "shared")
    assert answer(stage)["DEPLOYD_GENERATION"] == "2"


@pytest.mark.thorough
@BOTH_WAYS
@MIXED
def test_a_rollback_brings_the_old_routing_back(stage: Stage, routing: str, listen: list[str]) -> None:
    stage.deploy("v1", routing=other(routing), listen=listen)
    with load(stage) as over_unix:
        stage.configure(routing=routing, release=stage.release("v2"))
        assert stage.change("apply").result == "succeeded"
        assert stage.change("rollback").result == "succeeded"
        ended_well(stage, over_unix, other(routing))


@pytest.mark.thorough
@BOTH_WAYS
@MIXED
def test_a_failed_change_leaves_the_old_routing(stage: Stage, routing: str, listen: list[str]) -> None:
    stage.deploy("v1", routing=other(routing), listen=listen)
    before = {name: text for name, (_, text) in unit_files(stage).items() if name != UMBRELLA}
    with load(stage) as over_unix:
        stage.configure(routing=routing, release=stage.release("v2", mode="crash"))
        ended = stage.change("apply")
        assert ended.result == "rolled-back", ended
        check_settled(stage, other(routing))
        assert {name: text for name, (_, text) in unit_files(stage).items() if name != UMBRELLA} == before
        stage.configure(release=stage.release("v3"))
        assert stage.change("apply").result == "succeeded"
        ended_well(stage, over_unix, routing)


@pytest.mark.thorough
@BOTH_WAYS
def test_a_change_that_is_aborted_half_way_leaves_the_old_routing(stage: Stage, routing: str) -> None:
    """Half of the instances have the new kind of socket, and the address leads there."""
    stage.deploy("v1", routing=other(routing), listen=[SOCKET], rollout={"pause_after": [2]})
    with load(stage) as over_unix:
        stage.configure(routing=routing, release=stage.release("v2"))
        with stage.begin("apply") as begun:
            begun.until("paused")
        stage.machine.wait_for(lambda: {found for found, _ in answers(stage)} == {"2"}, what="the move")
        assert stage.change("abort", "--wait").result == "aborted"
        assert {found for found, _ in answers(stage)} == {"1"}
        ended_well(stage, over_unix, other(routing))


@pytest.mark.thorough
@BOTH_WAYS
def test_an_app_that_is_removed_half_way_leaves_nothing(stage: Stage, routing: str) -> None:
    stage.deploy("v1", routing=other(routing), listen=[SOCKET], rollout={"pause_after": [2]})
    stage.configure(routing=routing, release=stage.release("v2"))
    with stage.begin("apply") as begun:
        begun.until("paused")
    assert stage.deployd("remove", APP).returncode == 0
    assert names(stage) == set()
    assert not stage.machine.path(OWN).exists()


@pytest.mark.thorough
@BOTH_WAYS
def test_a_daemon_that_is_killed_in_between_continues(stage: Stage, routing: str) -> None:
    stage.deploy("v1", routing=other(routing), listen=[SOCKET])
    stage.configure(routing=routing, release=stage.release("v2", barrier=True))
    with load(stage) as over_unix, stage.begin("apply") as begun:
        kill_twice(stage, begun)
        ended = begun.end()
        assert ended.result == "succeeded", ended
        ended_well(stage, over_unix, routing)


@pytest.mark.thorough
@BOTH_WAYS
def test_a_boot_in_between_opens_a_socket_at_the_address(own_stage: Stage, routing: str) -> None:
    stage, machine = own_stage, own_stage.machine
    stage.deploy("v1", routing=other(routing), listen=[SOCKET])
    boot_without_daemon(stage, routing)
    machine.wait_for(lambda: bool(answers(stage)), what="an answer")
    start_daemon(stage)
    with load(stage) as over_unix:
        machine.wait_for(lambda: stage.status()["rollout"] is None, timeout=DEADLINE, what="the end of the rollout")
        unharmed(over_unix)
    assert stage.history()[0]["result"] == "succeeded"
    check_settled(stage, routing)
