"""A rollout loses no request and no capacity."""

from __future__ import annotations

import pytest

from tests.host.stage import Stage


@pytest.mark.parametrize("surge", [1, 0])
def test_every_request_succeeds(stage: Stage, surge: int) -> None:
    stage.deploy("v1", rollout={"max_surge": surge})
    load = stage.load()
    ended = stage.rollout(stage.release("v2"))
    record = load.stop()
    assert (ended.status, ended.result) == (0, "succeeded")
    assert not record.failed
    assert set(record.generations()) == {1, 2}
