"""kill -9 at every system call that changes a file: what the daemon keeps is as before the operation or as after it."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from deployd.state.history import History
from tests.state.killed_writes import STORIES, Story

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = os.pathsep.join(str(CHECKOUT / name) for name in ("daemon", "."))


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is one: hundreds of fsyncs, and no power is cut here."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else tmp_path) as path:
        yield Path(path)


def killed_everywhere(name: str, directory: Path) -> list[tuple[Path, int, str]]:
    """For a death at each call: what it left, how many operations had returned, and the call."""
    if shutil.which("strace") is None:
        verdict = pytest.fail if os.environ.get("CI") else pytest.skip
        verdict("strace is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.state.killed_writes", name, str(directory)],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": SOURCES},
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
        check=True,
    )
    words = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    return [(directory / number, int(returned), call) for number, returned, call in words]


def states(story: Story, directory: Path) -> list[object]:
    """What is there before the first operation and after each."""
    directory.mkdir()
    found = []
    for operation in (lambda _: None, *story.operations):
        subject = story.open(directory)
        operation(subject)
        story.close(subject)
        found.append(story.look(directory))
    return found


def go_on(story: Story, directory: Path, done: int) -> None:
    """What the next daemon does: everything that has not happened."""
    subject = story.open(directory)
    for operation in story.operations[done:]:
        operation(subject)
    story.close(subject)


@pytest.mark.parametrize("name", STORIES)
def test_killed_at_every_call_each_operation_is_whole_or_missing(name: str, directory: Path) -> None:
    story = STORIES[name]
    expected = states(story, directory / "uninterrupted")
    killed = killed_everywhere(name, directory)
    assert {returned for _, returned, _ in killed} >= set(range(len(story.operations))), "each operation writes"
    for left, returned, call in killed:
        seen = story.look(left)
        assert seen in expected[returned : returned + 2], f"{call}, {returned} operations had returned"
        # and the next daemon does what has not happened
        go_on(story, left, returned + (seen != expected[returned]))
        assert story.look(left) == expected[-1], f"{call}: what had been left to do"
        assert not list(left.rglob(".*")), f"{call}: something half-written is left"
        shutil.rmtree(left)


def test_the_story_has_every_operation_of_the_history_that_writes() -> None:
    called: set[str] = set()

    class Recorder:
        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *_: called.add(name)

    for operation in STORIES["history"].operations:
        operation(Recorder())
    public = {name: method for name, method in vars(History).items() if not name.startswith("_") and callable(method)}
    assert called == {name for name, method in public.items() if "self._write(" in inspect.getsource(method)}
