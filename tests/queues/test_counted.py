"""What becomes of jobs, by the lines of their workers."""

from __future__ import annotations

from tests.queues.counted import counted


def test_jobs_are_counted_by_their_fate() -> None:
    log = ["begin 1 1 1", "end 1 1 1", "begin 2 1 1", "begin 2 2 2", "end 2 2 2", "begin 3 1 1"]
    found = counted(4, [*log, "begin 5 1 1", "end 5 1 1"])
    assert (found.enqueued, found.lost, found.twice, found.again) == (4, ("3", "4"), (), ("2",))
    assert found.generations == ("1", "2")
    assert counted(1, ["begin 1 1 1", "end 1 1 1", "begin 1 2 1", "end 1 2 1"]).twice == ("1",)
