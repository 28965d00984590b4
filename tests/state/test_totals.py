"""Totals: they never go down while the history lasts, whatever is pruned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deployd.model.generation import Result
from deployd.state import totals
from deployd.state.database import in_memory
from deployd.state.history import History
from deployd.state.totals import CRASHES, Total
from tests.state.four_rollouts import OPERATIONS, generation


def test_results_and_crashes_are_counted_and_survive_pruning(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.open()
    assert history.totals("demo") == {}
    for operation in OPERATIONS:
        operation(history)
    before = history.totals("demo")
    results = {Result.SUCCEEDED, Result.ROLLED_BACK, Result.SUPERSEDED, Result.ABORTED}
    assert {what: total.count for what, total in before.items()} == {CRASHES: 1} | {str(what): 1 for what in results}
    assert before[Result.SUCCEEDED].seconds == 0.5
    history.prune("demo", {1}, "b" * 32)
    assert len(history.past("demo")) == 1
    assert history.totals("demo") == before
    assert history.totals("other") == {}
    history.forget("demo")
    assert history.totals("demo") == {}
    history.close()


def test_a_repair_counts_what_it_has_found() -> None:
    db = in_memory()
    done = replace(generation(1, Result.SUCCEEDED), duration=2.0)
    totals.add_rebuilt(db, [done, replace(done, number=2), generation(3, Result.FAILED), generation(4)])
    found = {what: Total(*figures) for what, *figures in db.execute(totals.SELECT, ("demo",))}
    assert found == {"succeeded": Total(2, 4.0), "failed": Total(1, 0.0)}
