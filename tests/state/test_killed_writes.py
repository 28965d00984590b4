"""SIGKILL at every system call that changes a file: the state is that before the operation or that after it."""

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
from tests.state.killed_writes import SCENARIOS, Scenario

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = os.pathsep.join(str(CHECKOUT / name) for name in ("daemon", "."))


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Return a directory in memory, if possible, because there are hundreds of fsyncs and no loss of power."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else tmp_path) as path:
        yield Path(path)


def killed_everywhere(name: str, directory: Path) -> list[tuple[Path, int, str]]:
    """Return the directory, the number of operations that returned and the call at which the process was killed."""
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


def states(scenario: Scenario, directory: Path) -> list[object]:
    """Return the state before the first operation and after each."""
    directory.mkdir()
    found = []
    for operation in (lambda _: None, *scenario.operations):
        subject = scenario.open(directory)
        operation(subject)
        scenario.close(subject)
        found.append(scenario.read(directory))
    return found


def resume(scenario: Scenario, directory: Path, done: int) -> None:
    """Carry out the remaining operations, like the next daemon."""
    subject = scenario.open(directory)
    for operation in scenario.operations[done:]:
        operation(subject)
    scenario.close(subject)


@pytest.mark.sampled
@pytest.mark.parametrize("name", SCENARIOS)
def test_operations_are_atomic_when_killed_at_any_call(name: str, directory: Path) -> None:
    scenario = SCENARIOS[name]
    expected = states(scenario, directory / "uninterrupted")
    killed = killed_everywhere(name, directory)
    assert {returned for _, returned, _ in killed} >= set(range(len(scenario.operations))), "each operation writes"
    for left, returned, call in killed:
        seen = scenario.read(left)
        assert seen in expected[returned : returned + 2], f"{call}, {returned} operations had returned"
        # The next daemon carries out the rest.
        resume(scenario, left, returned + (seen != expected[returned]))
        assert scenario.read(left) == expected[-1], f"{call}: the remaining operations"
        assert not list(left.rglob(".*")), f"{call}: an incomplete file is left"
        shutil.rmtree(left)


def test_the_scenario_covers_every_operation_of_the_history_that_writes() -> None:
    called: set[str] = set()

    class Recorder:
        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *_: called.add(name)

    for operation in SCENARIOS["history"].operations:
        operation(Recorder())
    public = {name: method for name, method in vars(History).items() if not name.startswith("_") and callable(method)}
    assert called == {name for name, method in public.items() if "self._write(" in inspect.getsource(method)}
