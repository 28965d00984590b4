"""Idle clients of a steered app in a rollout: each is moved once, those of one instance after those of another."""

from __future__ import annotations

import itertools

import pytest

from tests.host.stage import INSTANCES, PORT, Ended, Stage
from tests.host.websockets import GOING_AWAY, RESTART, SERVER, Clients, Visit

COUNT = 300
AT_ONCE = {"max_surge": INSTANCES}
"""All new instances are ready before the first old one is stopped, so that all could be stopped together."""
NOTICE = {"close_after": "30s", "signal": "SIGUSR1"}


def release(stage: Stage, version: str) -> str:
    return stage.release(version, files={"server": SERVER})


def moved(stage: Stage, **settings: object) -> tuple[Ended, Clients, dict[int, int]]:
    """Roll out with idle clients. Returns where each of them was before."""
    stage.configure(release=release(stage, "v1"), exec=["./server"], routing="steered", rollout=AT_ONCE, **settings)
    assert stage.change("apply").status == 0
    with Clients(stage.machine.network_namespace, PORT, COUNT) as clients:
        stage.machine.wait_for(lambda: clients.connected == COUNT, what="all clients")
        before = {client: visit.instance for client, visit in clients.places().items()}
        ended = stage.rollout(release(stage, "v2"))
        stage.machine.wait_for(
            lambda: clients.connected == COUNT and {visit.generation for visit in clients.places().values()} == {2},
            what="all clients to be back",
        )
    assert ended.result == "succeeded", ended
    assert clients.failures == []
    return ended, clients, before


def waves(visits: list[Visit], before: dict[int, int]) -> list[list[int]]:
    """Return, for each old instance in the order of its first client, when its clients came back: their places in the
    order of all."""
    found: dict[int, list[int]] = {}
    for place, visit in enumerate(visits):
        found.setdefault(before[visit.client], []).append(place)
    return list(found.values())


@pytest.mark.sampled
@pytest.mark.parametrize(("drain", "code"), [({}, GOING_AWAY), (NOTICE, RESTART)])
def test_each_client_is_moved_once_and_one_wave_after_the_other(
    stage: Stage, drain: dict[str, object], code: int
) -> None:
    _, clients, before = moved(stage, drain=drain)
    assert set(clients.codes) == {code}
    assert clients.moves() == dict.fromkeys(range(COUNT), 1)
    found = waves(clients.visits[COUNT:], before)
    assert len(found) == INSTANCES
    for wave, following in itertools.pairwise(found):
        late = sum(place > following[0] for place in wave)
        assert late <= len(wave) / 5, (late, len(wave))


def watched(stage: Stage) -> int:
    """Return how many waves were watched to their end."""
    stage.machine.run(["journalctl", "--sync"])
    text = stage.machine.run(["journalctl", "--unit=deployd.service", "--output=cat"]).stdout
    return text.count("connections of instance")


@pytest.mark.thorough
def test_a_rollback_does_not_wait_for_waves(stage: Stage) -> None:
    """Its clients get bad responses."""
    before = watched(stage)
    moved(stage)
    stage.machine.wait_for(lambda: watched(stage) == before + INSTANCES, what="the end of the last wave")
    with Clients(stage.machine.network_namespace, PORT, COUNT) as clients:
        stage.machine.wait_for(lambda: clients.connected == COUNT, what="all clients")
        assert stage.change("rollback").result == "succeeded"
    assert watched(stage) == before + INSTANCES
