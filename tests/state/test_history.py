"""The history: every operation is atomic, whenever the daemon is killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployd.errors import StateError
from deployd.model.clock import Timestamp
from deployd.model.crashes import Crashes
from deployd.model.generation import Generation, Result
from deployd.model.rollout import Hold, Phase
from deployd.state.ends import Beginning, Ending
from deployd.state.history import History
from deployd.state.source import Source
from tests.state.four_rollouts import BACK, FIRST, OPERATIONS, SECOND, at, generation

CHECKOUT = Path(__file__).parents[2]
SOURCES = os.pathsep.join(str(CHECKOUT / part) for part in (".", "daemon"))

State = dict[str, Any]
Refusal = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path)
    history.open()
    yield history
    history.close()


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch) -> Refusal:
    """Return a context in which no database can be opened for writing. (Root could write a read-only one.)"""

    def refused(self: Source) -> None:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    @contextlib.contextmanager
    def refusing() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(Source, "_open_for_writing", refused)
            yield

    return refusing


@pytest.fixture
def memory() -> Iterator[Path]:
    """Return a directory where fsync is fast. Killing a process loses nothing that the kernel has already received."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        yield Path(directory)


def generations(history: History, app: str = "demo") -> list[Generation]:
    """Return all generations, newest first."""
    found = [history.generation(app, item.number) for item in history.past(app)]
    return [item for item in found if item is not None]


def state(history: History) -> State:
    """Return everything that can be read."""
    return {
        "apps": history.apps(),
        **{
            app: (
                history.current(app),
                generations(history, app),
                history.rollout(app),
                [sorted(history.invocations(app, item.number)) for item in history.past(app)],
                history.next_number(app),
            )
            for app in ("demo", "other")
        },
    }


def reopened(directory: Path) -> State:
    history = History(directory)
    history.open()
    try:
        return state(history)
    finally:
        history.close()


def states(directory: Path) -> list[State]:
    """Return what can be read before, between and after the operations."""
    history = History(directory)
    history.open()
    found = [state(history)]
    for operation in OPERATIONS:
        operation(history)
        found.append(state(history))
    history.close()
    return found


def integrity_errors(directory: Path) -> list[str]:
    """Return what SQLite finds wrong with the database."""
    with contextlib.closing(sqlite3.connect(directory / "history.sqlite")) as database:
        found = [text for (text,) in database.execute("PRAGMA integrity_check")]
    return [text for text in found if text != "ok"]


def deaths(directory: Path, how: str) -> list[list[int]]:
    """Return [K, operations that returned, exit status] for each change K; the databases are in DIRECTORY/K."""
    directory.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.state.dying_writes", str(directory), how],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": SOURCES},
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    return [[int(word) for word in line.split()] for line in done.stdout.splitlines()]


@pytest.mark.sampled
@pytest.mark.parametrize("how", ["whole", "torn"])
def test_operations_are_atomic_when_killed_at_any_write(memory: Path, how: str) -> None:
    expected = states(memory / "uninterrupted")
    *killed, (last, returned, status) = deaths(memory / how, how)
    assert (returned, status) == (len(OPERATIONS), 0)
    assert reopened(memory / how / str(last)) == expected[-1]
    assert len(killed) > len(OPERATIONS), "every operation writes at least once"
    for fatal, returned, status in killed:
        directory = memory / how / str(fatal)
        assert status == -signal.SIGKILL
        assert reopened(directory) in expected[returned : returned + 2], f"change {fatal}, {returned} operations"
        # The next daemon can write to it.
        history = History(directory)
        history.open()
        history.saw("demo", 1, 9, "f" * 32)
        assert "f" * 32 in history.invocations("demo", 1)
        history.close()
        assert integrity_errors(directory) == []
        shutil.rmtree(directory)


def test_the_last_commit_before_a_kill_is_read_from_a_read_only_directory(tmp_path: Path, refusal: Refusal) -> None:
    history = History(tmp_path / "killed")
    history.open()
    for operation in OPERATIONS:
        operation(history)
    shutil.copytree(tmp_path / "killed", tmp_path / "left")  # the log has not been checkpointed into the database yet
    left = History(tmp_path / "left")
    with refusal():
        left.open()
        assert state(left) == state(history)
    left.close()
    history.close()


def test_generations_and_rollouts_are_read_back(history: History) -> None:
    history.begin_together([Beginning(generation(1), FIRST)], Timestamp.now())
    assert (history.generation("demo", 1), history.rollout("demo")) == (generation(1), FIRST)
    assert history.current("demo") is None
    history.finish_together([Ending(FIRST, Result.SUCCEEDED, "")], at(1001.5))
    assert history.current("demo") == 1
    assert history.rollout("demo") is None
    history.begin_together([Beginning(generation(2), SECOND)], Timestamp.now())
    going = replace(SECOND, passed=frozenset({2, 12}))
    history.progress(going, (1, 3), (2,))
    assert history.rollout("demo") == going
    assert history.generation("demo", 2) == replace(generation(2), replaced=(1, 3), adopted=(2,))
    history.move(BACK)
    assert history.rollout("demo") == BACK
    assert BACK.phase is Phase.ROLLING_BACK
    history.finish_together([Ending(BACK, Result.ROLLED_BACK, BACK.reason)], at(1002.5))
    assert history.current("demo") == 1
    newest, first = generations(history)
    assert (newest.result, newest.reason, newest.finished) == (Result.ROLLED_BACK, BACK.reason, 1002.5)
    assert first.result is Result.SUCCEEDED
    assert history.next_number("demo") == 3


def test_the_duration_is_measured_although_the_wall_clock_is_set(history: History) -> None:
    first, second = (replace(item, began=item.started - 1000.0, boot="boot") for item in (FIRST, SECOND))
    history.begin_together([Beginning(generation(1), first)], Timestamp.now())
    assert history.rollout("demo") == first
    assert generations(history)[0].duration is None
    set_back = Timestamp(monotonic=1.75, wall=400.0, boot="boot")
    history.begin_together([Beginning(generation(2), second, first, "superseded by generation 2")], set_back)
    history.finish_together([Ending(second, Result.SUCCEEDED, "")], replace(set_back, monotonic=4.0))
    assert [(item.finished, item.duration) for item in generations(history)] == [(400.0, 2.0), (400.0, 0.75)]
    assert [item.duration for item in history.entries("demo", 2)] == [2.0, 0.75]


def test_a_first_rollout_that_failed_leaves_no_current_generation(history: History) -> None:
    history.begin_together([Beginning(generation(1), FIRST)], Timestamp.now())
    history.finish_together([Ending(FIRST, Result.FAILED, "instance 1 exited with status 3")], at(1001.5))
    assert history.current("demo") is None
    assert history.next_number("demo") == 2


def test_apps_are_independent(history: History) -> None:
    history.begin_together([Beginning(generation(1), FIRST)], Timestamp.now())
    history.deployed(generation(1, Result.SUCCEEDED, "other"))
    history.saw("other", 1, 1, "b" * 32)
    assert history.apps() == ["demo", "other"]
    assert (history.current("demo"), history.current("other")) == (None, 1)
    assert history.invocations("demo", 1) == []
    history.forget("demo")
    assert history.apps() == ["other"]
    assert history.rollout("demo") is None
    assert history.invocations("other", 1) == ["b" * 32]
    assert history.generations_of("other", ["b" * 32, "c" * 32, "'"]) == {"b" * 32: 1}
    assert history.generations_of("demo", ["b" * 32]) == {}
    assert history.next_number("demo") == 1


def test_an_invocation_belongs_to_the_generation_it_was_first_seen_with(history: History) -> None:
    for number in (1, 2):
        history.saw("demo", number, 1, "a" * 32)
    history.saw("demo", 2, 1, "b" * 32)
    assert history.invocations("demo", 1) == ["a" * 32]
    assert history.invocations("demo", 2) == ["b" * 32]


def test_a_generation_number_is_used_once(history: History) -> None:
    history.begin_together([Beginning(generation(1), FIRST)], Timestamp.now())
    with pytest.raises(StateError, match=r"history\.sqlite cannot be written"):
        history.begin_together(
            [Beginning(generation(1), replace(FIRST, target=1, phase=Phase.PAUSED))], Timestamp.now()
        )
    assert history.rollout("demo") == FIRST, "the whole transaction was undone"


def test_a_failed_transaction_is_rolled_back_and_the_next_one_works(history: History) -> None:
    history.begin_together([Beginning(generation(1), FIRST)], Timestamp.now())
    broken = replace(FIRST, reason=object())  # type: ignore[arg-type]
    with pytest.raises(StateError):
        history.move(broken)
    assert history.rollout("demo") == FIRST
    history.move(replace(FIRST, phase=Phase.PAUSED))
    assert (rollout := history.rollout("demo"))
    assert rollout.phase is Phase.PAUSED


def test_a_full_disk_is_reported_in_one_sentence_and_changes_nothing(history: History) -> None:
    history.begin_together([Beginning(generation(1), FIRST)], Timestamp.now())
    [pages] = history.source._require().execute("PRAGMA page_count").fetchone()
    history.source._require().execute(f"PRAGMA max_page_count={pages}")  # SQLITE_FULL, as from a full disk
    with pytest.raises(StateError, match="database or disk is full; nothing was changed"):
        history.move(replace(FIRST, reason="x" * 100_000))
    assert history.rollout("demo") == FIRST
    history.saw("demo", 1, 1, "a" * 32)
    history.source._require().execute("PRAGMA max_page_count=1000000")
    history.move(replace(FIRST, reason="x" * 100_000))
    assert (rollout := history.rollout("demo"))
    assert len(rollout.reason) == 100_000


def test_a_lock_of_another_process_is_an_error_and_not_waited_for(history: History, tmp_path: Path) -> None:
    history.begin_together([Beginning(generation(1), FIRST)], Timestamp.now())
    history.source._require().execute("PRAGMA busy_timeout=50")
    with contextlib.closing(sqlite3.connect(tmp_path / "history.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="locked"):
            history.move(BACK)
        other.execute("ROLLBACK")
    history.move(BACK)
    assert history.rollout("demo") == BACK


def test_a_database_that_cannot_be_written_is_still_read(tmp_path: Path, refusal: Refusal) -> None:
    states(tmp_path / "site")
    before = reopened(tmp_path / "site")
    history = History(tmp_path / "site")
    with refusal():
        history.open()
        assert state(history) == before
        with pytest.raises(StateError, match="readonly database; nothing was changed"):
            history.begin_together([Beginning(generation(9), replace(FIRST, target=9))], Timestamp.now())
        assert state(history) == before
    # The disk is writable again, and no restart is needed.
    history.begin_together([Beginning(generation(9), replace(FIRST, target=9))], Timestamp.now())
    assert history.next_number("demo") == 10
    history.close()


def test_using_a_history_that_is_not_open_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="is not open"):
        History(tmp_path).apps()


def test_the_longest_boot_of_an_invocation_counts(history: History) -> None:
    for boot in (None, 0.5, 75.0, None, 0.5):
        history.saw("demo", 1, 3, "id", boot)
    assert history.boots("demo") == [75.0]


def test_crashes_are_kept_until_they_are_forgiven_or_the_machine_boots(history: History) -> None:
    crashes = Crashes(1, "a" * 32, 3, True, 5, (1.0, 2.0), "exited with status 5", "b" * 32, 2.0, 3.0)
    history.crashed("demo", "boot", {1: crashes, 2: Crashes(1), 3: crashes})
    assert history.crashes("demo", "boot") == {1: crashes, 3: crashes}
    history.crashed("demo", "boot", {1: replace(crashes, count=6), 3: Crashes(None)})
    assert history.crashes("demo", "boot") == {1: replace(crashes, count=6)}
    assert history.crashes("demo", "another boot") == {}
    assert history.crashes("other", "boot") == {}
    history.forget("demo")
    assert history.crashes("demo", "boot") == {}


def test_boots_by_generation(history: History) -> None:
    for invocation, (number, boot) in enumerate([(1, 0.5), (1, None), (2, 0.7), (1, 0.6)]):
        history.saw("demo", number, 1, str(invocation), boot)
    assert history.boots_by_generation("demo", [1, 2, 3]) == {1: [0.6, 0.5], 2: [0.7]}
    assert history.boots_by_generation("demo", [2]) == {2: [0.7]}


def test_holds_and_weights_are_kept(history: History) -> None:
    asked = replace(SECOND, holds=(Hold(1, canary=True, share=0.05), Hold(2)), weight=(1, 0.25))
    history.begin_together([Beginning(generation(2), asked)], Timestamp.now())
    assert history.rollout("demo") == asked
    history.move(SECOND)
    assert history.rollout("demo") == SECOND
