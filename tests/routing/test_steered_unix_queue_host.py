"""Connections that wait at the UNIX socket of a steered app while none of its instances runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.host.stage import Stage
from tests.routing.test_steered_unix_host import SOCKET, load, sockets, unharmed


@pytest.fixture(autouse=True)
def _nothing_there(stage: Stage) -> None:
    """Remove what an earlier test left."""
    stage.machine.run(["rm", "-rf", str(Path(SOCKET).parent)])


@pytest.mark.sampled
@pytest.mark.parametrize(
    "more",
    [
        {"instances": 1, "rollout": {"max_surge": 0, "max_unavailable": 1}},
        {"instances": 1, "overlap": False},
        {"instances": 2, "rollout": {"max_surge": 0, "max_unavailable": 2}},
    ],
    ids=["in-place", "no-overlap", "all-at-once"],
)
def test_connections_wait_for_the_next_generation_if_none_serves(stage: Stage, more: dict[str, object]) -> None:
    """They cannot be moved to another queue, so both generations have the same."""
    stage.deploy("v1", routing="steered", listen=[SOCKET], **more)
    with load(stage) as over_unix:
        for release in ("v2", "v3"):
            assert stage.rollout(stage.release(release)).result == "succeeded"
        assert stage.change("rollback").result == "succeeded"
        unharmed(over_unix)
    assert sockets(stage) == {1}
