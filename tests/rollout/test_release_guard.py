"""When a release is compared during its rollout, and what counts as a change of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployd.config.contents import contents
from deployd.errors import NoAnswer, StateError
from deployd.model.action import Start, Stop
from deployd.model.generation import Generation
from deployd.rollout.release_guard import ReleaseGuard
from tests.config.test_contents import PAST, write
from tests.state.four_rollouts import SETTINGS, generation

START, STOP = Start(5, 3), Stop(1, 2, "replaced")


class Threadless:
    """Workers that run at once, or do not answer."""

    answers = True

    async def run(self, _name: str, function: Callable[..., Any], *arguments: Any, deadline: float = 0.0) -> Any:
        if not self.answers:
            raise NoAnswer("no answer")
        return function(*arguments)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    for name in ("app.py", "VERSION", "hits.db"):
        write(tmp_path / "v1" / name)
    return tmp_path / "v1"


def made(release: Path, user: str | None) -> Generation:
    app = replace(SETTINGS, user=user)
    return replace(generation(3), release=str(release), settings=app, contents=contents(str(release), app).digest)


def change_of(guard: ReleaseGuard, target: Generation) -> str:
    return asyncio.run(guard.change(target))


def test_it_is_due_before_each_start_and_once_after_the_last(release: Path) -> None:
    guard, target = ReleaseGuard("web", Threadless()), made(release, None)  # type: ignore[arg-type]
    assert not guard.is_due_at_end(0)
    assert not guard.is_due(3, [STOP])
    for _ in range(2):
        assert guard.is_due(3, [STOP, START])
        assert change_of(guard, target) == ""
        assert not guard.is_due(3, [STOP, START])
        guard.acted(3, [STOP])
        assert not guard.is_due(3, [START])
        guard.acted(3, [START])
    assert guard.is_due_at_end(3)
    assert not guard.is_due_at_end(2), "a rollback compares before it starts an instance"
    assert change_of(guard, target) == ""
    assert not guard.is_due_at_end(3)


def test_it_is_looked_for_once_before_actions_begin() -> None:
    guard = ReleaseGuard("web", Threadless())  # type: ignore[arg-type]
    for actions in ([STOP], [START]):
        assert not guard.must_find(3, [])
        assert guard.must_find(3, actions)
        guard.found(3)
        assert not guard.must_find(3, actions)
        assert guard.must_find(4, actions)
        guard.acted(3, [])
        assert not guard.must_find(3, actions)
        guard.acted(3, actions)


@pytest.mark.skipif(os.getuid() != 0, reason="files belong to root")
@pytest.mark.parametrize(
    ("user", "name", "counts"),
    [("nobody", "VERSION", True), (None, "app.py", True), (None, "hits.db", False), ("root", "app.py", True)],
)
def test_what_is_a_change(release: Path, user: str | None, name: str, counts: bool) -> None:
    """An app that runs as root may write data into its release."""
    guard, target = ReleaseGuard("web", Threadless()), made(release, user)  # type: ignore[arg-type]
    assert change_of(guard, target) == ""
    write(release / name, mtime=PAST + 1)
    change = change_of(guard, target)
    assert change.startswith(f"the release {release} has changed since generation 3 began: ") == counts, change


def test_a_file_system_that_does_not_answer_is_no_change(release: Path) -> None:
    workers = Threadless()
    workers.answers = False
    with pytest.raises(StateError, match="no answer"):
        change_of(ReleaseGuard("web", workers), made(release, None))  # type: ignore[arg-type]
