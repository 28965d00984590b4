"""Servers that have their clients leave before they are stopped ([drain] signal and command)."""

from __future__ import annotations

import pytest

from tests.host.stage import INSTANCES, PORT, Stage
from tests.host.unit_journal import What
from tests.host.websockets import RESTART, SERVER, Clients

COUNT = 40
LEAVE = '#!/bin/sh\n[ -n "$DEPLOYD_INSTANCE" ] && [ -n "$DEPLOYD_GENERATION" ] && exec kill -USR1 "$MAINPID"\n'
SIGNAL = {"close_after": "30s", "signal": "SIGUSR1"}
COMMAND = {"close_after": "30s", "command": ["./leave"]}


def release(stage: Stage, version: str) -> str:
    return stage.release(version, files={"server": SERVER, "leave": LEAVE})


def deploy(stage: Stage, **settings: object) -> None:
    stage.configure(release=release(stage, "v1"), exec=["./server"], routing="steered", **settings)
    assert stage.change("apply").status == 0


def serving(stage: Stage) -> set[int]:
    return {item["instance"] for item in stage.status()["instances"] if item["state"] == "ready"}


def places(clients: Clients) -> set[int]:
    return {visit.instance for visit in clients.places().values()}


@pytest.mark.sampled
@pytest.mark.parametrize("drain", [SIGNAL, COMMAND])
def test_clients_leave_before_the_stop(stage: Stage, drain: dict[str, object]) -> None:
    deploy(stage, drain=drain)
    with Clients(stage.machine.network_namespace, PORT, COUNT) as clients:
        stage.machine.wait_for(lambda: clients.connected == COUNT, what="all clients")
        with stage.load(rate=50, keepalive=0) as load:
            ended = stage.rollout(release(stage, "v2"))
            record = load.stop()
        assert ended.result == "succeeded", ended
        stage.machine.wait_for(lambda: clients.connected == COUNT, what="all clients to be back")
        assert (set(clients.codes), clients.failures) == ({RESTART}, [])
        assert {visit.generation for visit in clients.places().values()} == {2}
    assert not record.failed, record.by_outcome()
    left = [event["connections"] for event in ended.events if event.get("state") == "stopped"]
    assert left == [0] * INSTANCES


@pytest.mark.thorough
def test_with_standby_they_leave_and_the_instances_are_frozen(stage: Stage) -> None:
    """And again, once these serve again."""
    deploy(stage, drain=SIGNAL, rollout={"standby": "10min"})
    first, v2 = stage.invocations(), release(stage, "v2")
    with Clients(stage.machine.network_namespace, PORT, COUNT) as clients:
        for verb in (("rollout", "--release", v2), ("rollback",), ("rollout", "--release", v2)):
            stage.machine.wait_for(lambda: clients.connected == COUNT, what="all clients")
            assert stage.change(*verb).result == "succeeded"
            stage.machine.wait_for(lambda: places(clients) <= serving(stage), what="all clients to have moved")
            if verb == ("rollback",):
                assert {number: ran.invocation for number, ran in stage.invocations().items() if number in first} == {
                    number: ran.invocation for number, ran in first.items()
                }
        assert (set(clients.codes), clients.failures) == ({RESTART}, [])


@pytest.mark.thorough
def test_a_program_that_does_not_handle_the_signal_is_not_ended_by_it(stage: Stage) -> None:
    deploy(stage, drain=SIGNAL | {"close_after": "1s", "signal": "SIGUSR2"})
    with Clients(stage.machine.network_namespace, PORT, COUNT) as clients:
        stage.machine.wait_for(lambda: clients.connected == COUNT, what="all clients")
        stage.journal.restart()
        assert stage.rollout(release(stage, "v2")).result == "succeeded"
        assert RESTART not in clients.codes
    assert not [change for change in stage.journal.changes() if change.what in (What.EXITED, What.RESTARTING)]
    assert "SIGUSR2 would end its main process" in stage.machine.run(["journalctl", "--unit=deployd.service"]).stdout
