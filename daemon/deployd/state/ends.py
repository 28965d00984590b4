"""The two ends of a rollout in the database: rows of an app and of its process types, written in one transaction."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from deployd.model.clock import Timestamp
from deployd.model.generation import Generation, Result
from deployd.model.probation import Probation
from deployd.model.rollout import Rollout
from deployd.state import probations, rows, totals


@dataclass(frozen=True, slots=True)
class Beginning:
    """A new generation and its rollout, and the rollout that it supersedes, with the reason."""

    generation: Generation
    rollout: Rollout
    superseded: Rollout | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """The result of a rollout. `probation` is that of the generation that is current from then on."""

    rollout: Rollout
    result: Result
    reason: str
    probation: Probation | None = None


def begin(db: sqlite3.Connection, beginning: Beginning, now: Timestamp) -> None:
    """Add the generation and its rollout, in place of the one that it supersedes, if there is one."""
    if beginning.superseded is not None:
        _finish(db, Ending(beginning.superseded, Result.SUPERSEDED, beginning.reason), now)
    rows.put_generation(db, beginning.generation)
    rows.put_rollout(db, beginning.rollout)


def finish(db: sqlite3.Connection, ending: Ending, now: Timestamp) -> None:
    """End the rollout. The current generation is its target if it succeeded, and its origin otherwise."""
    _finish(db, ending, now)
    probations.put(db, ending.rollout.app, ending.probation)


def _finish(db: sqlite3.Connection, ending: Ending, now: Timestamp) -> None:
    rollout, result, lasted = ending.rollout, ending.result, ending.rollout.lasted(now)
    db.execute(
        "UPDATE generations SET result = ?, reason = ?, finished = ?, duration = ? WHERE app = ? AND number = ?",
        (result, ending.reason, now.wall, lasted, rollout.app, rollout.target),
    )
    totals.add(db, rollout.app, result, seconds=lasted)
    db.execute("DELETE FROM rollouts WHERE app = ?", (rollout.app,))
    rows.put_current(db, rollout.app, rollout.target if result is Result.SUCCEEDED else rollout.origin)
