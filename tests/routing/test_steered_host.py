"""routing = "steered": a socket for each instance, to which the kernel distributes new connections."""

from __future__ import annotations

from tests.host.stage import Stage


def test_a_rollout_loses_no_request(stage: Stage) -> None:
    stage.deploy("v1", routing="steered")
    status = stage.status()
    assert (status["routing"], status["steering"], status["steering_reason"]) == ("steered", "ebpf", "")
    assert [item["weight"] for item in status["instances"]] == [25.0] * 4
    with stage.load(rate=200) as load:
        ended = stage.rollout(stage.release("v2"))
        assert ended.result == "succeeded", ended
        ended = stage.rollout(stage.release("v3", mode="crash"))
        assert ended.result == "rolled-back", ended
        ended = stage.change("rollback", "--to", "1")
        assert ended.result == "succeeded", ended
        record = load.stop()
    assert not record.failed, record.by_outcome()
