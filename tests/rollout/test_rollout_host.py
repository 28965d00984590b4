"""A rollout loses no request and no capacity, as measured in systemd's journal and not by deployd."""

from __future__ import annotations

import pytest

from tests.host.stage import INSTANCES, Stage
from tests.host.unit_journal import What, capacity
from tests.load.record import Kind

ALL = range(1, INSTANCES + 1)


@pytest.mark.parametrize(("surge", "floor", "most"), [(1, 4, 5), (0, 3, 4)], ids=["surge", "in-place"])
def test_no_request_fails_and_capacity_is_kept(stage: Stage, surge: int, floor: int, most: int) -> None:
    stage.deploy("v1", rollout={"max_surge": surge})
    before = stage.invocations()
    stage.journal.restart()
    with stage.load(rate=200, keepalive=8) as load:
        ended = stage.rollout(stage.release("v2", handler_ms=5))
        record = load.stop()
    assert (ended.status, ended.result, ended.generation) == (0, "succeeded", 2), ended
    assert not record.failed, record.by_outcome()
    for kind in (Kind.FRESH, Kind.KEEPALIVE):
        assert set(record.of_kind(kind).generations()) == {1, 2}, kind
    counts = capacity(stage.journal.changes(), ALL)
    assert (min(counts), max(counts), counts[-1]) == (floor, most, INSTANCES)
    after = stage.invocations()
    assert [ran.generation for ran in after.values()] == [2] * INSTANCES
    assert not {ran.invocation for ran in before.values()} & {ran.invocation for ran in after.values()}
    assert sorted(stage.history()[0]["replaced"]) == sorted(before)


@pytest.mark.thorough
def test_amounts_may_be_percentages(stage: Stage) -> None:
    """max_surge 50% of 4 and max_unavailable 25% of 4 are both used."""
    stage.deploy("v1", rollout={"max_surge": "50%", "max_unavailable": "25%"})
    stage.journal.restart()
    with stage.load() as load:
        ended = stage.rollout(stage.release("v2", boot=0.2))
        record = load.stop()
    assert ended.result == "succeeded"
    assert not record.failed, record.by_outcome()
    changes = stage.journal.changes()
    assert min(capacity(changes, ALL)) == 3
    alive = set(ALL)
    most = 0
    for change in changes:
        if change.what is What.STARTING:
            alive.add(change.instance)
        elif change.what is What.STOPPED:
            alive.discard(change.instance)
        most = max(most, len(alive))
    assert most == 6


@pytest.mark.thorough
def test_twenty_rollouts_in_a_row_lose_no_request(stage: Stage) -> None:
    stage.deploy("v1", instances=3)
    releases = [stage.release("a"), stage.release("b", handler_ms=3)]
    stage.journal.restart()
    with stage.load(rate=150, keepalive=6) as load:
        for number in range(20):
            stage.configure(rollout={"max_surge": number // 2 % 2})
            ended = stage.rollout(releases[number % 2])
            assert ended.result == "succeeded", (number, ended)
            assert len(ended.finished["replaced"]) == 3
        record = load.stop()
    assert not record.failed, record.by_outcome()
    assert set(record.generations()) >= set(range(2, 22))
    assert min(capacity(stage.journal.changes(), range(1, 4))) == 2
    assert [row["result"] for row in stage.history()] == ["succeeded"] * 21
