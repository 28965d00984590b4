"""A state directory with two apps, for tests of an unusable history."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

from deployd.model.clock import Timestamp
from deployd.model.generation import Result
from deployd.model.rollout import Rollout
from deployd.state.ends import Beginning, Ending
from deployd.state.history import History
from deployd.state.pins import Pins
from tests.state.four_rollouts import at, generation

FILES = {"run": ("#!/bin/sh\n", 0o755), "environment": ("A=b\n", 0o600)}


REMEDY = "run deployd repair to rebuild it from the generations on disk, or restore a backup"


class Site:
    """Two apps with generations, pins and a history: `demo` at 2, rolled back from 3, and `other` at 1."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "history.sqlite"
        self.pins = Pins(directory)
        self.history = History(directory, self.pins)
        self.history.open()
        for number, result in ((1, Result.SUCCEEDED), (2, Result.SUCCEEDED), (3, Result.ROLLED_BACK)):
            self.roll("demo", number, result)
        self.roll("other", 1, Result.SUCCEEDED)
        for instance in (1, 2):
            self.pins.pin("demo", instance, 2)
            self.pins.pin("other", instance, 1)

    def roll(self, app: str, number: int, result: Result = Result.RUNNING) -> Rollout:
        made = replace(generation(number, app=app), origin=self.history.current(app))
        self.pins.write_generation(app, number, FILES, made.release)
        rollout = Rollout(app, made.origin, number, started=made.started)
        self.history.begin_together([Beginning(made, rollout)], Timestamp.now())
        if result is not Result.RUNNING:
            self.history.finish_together([Ending(rollout, result, "")], at(made.started + 1))
        return rollout

    def sql(self, *statements: str) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as db, db:
            for statement in statements:
                db.execute(statement)

    def facts(self, app: str) -> tuple[Any, ...]:
        """Return what status, history, adoption and rollback depend on."""
        history = self.history
        numbers = [item.number for item in history.past(app)]
        return (
            history.current(app),
            history.rollout(app),
            [history.generation(app, number) for number in numbers],
            history.next_number(app),
        )

    def repair(self) -> tuple[Path | None, frozenset[str]]:
        return self.history.source.repair(self.history.source.examine())

    def reopened(self) -> str:
        """Reopen the history, as after a restart of the daemon; return what is wrong with it."""
        self.history.close()
        self.history.open()
        return self.history.source.trouble()


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def hole(site: Site) -> None:
    size = site.path.stat().st_size
    with site.path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 8192))
