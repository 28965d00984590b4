"""Helper of test_killed_writes: a process that is killed at each system call in turn that changes a file.

    python -m tests.state.killed_writes SCENARIO DIRECTORY

leaves the files of each process in DIRECTORY/N, and prints N, the number of operations that had returned, and the
system call at which it was killed. strace kills on entry, so the call itself has not been carried out. Unlike
dying_writes, which counts the calls of SQLite and tears writes in two, this covers every call of the process.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployd.state.history import History
from deployd.state.pins import Pins
from deployd.units.directory import UnitDirectory
from deployd.units.text import HEADER, Unit
from tests.state.four_rollouts import OPERATIONS

CALLS = (
    "write", "pwrite64", "writev", "pwritev", "fsync", "fdatasync", "ftruncate", "fallocate", "fchmod", "fchmodat",
    "unlinkat", "renameat", "renameat2", "mkdirat", "symlinkat", "linkat", "openat",
    # Not on every platform: older forms, and replacements of some of the above.
    "?open", "?rename", "?unlink", "?rmdir", "?mkdir", "?symlink", "?chmod", "?fchmodat2", "?sync_file_range",
)  # fmt: skip
PR_SET_PTRACER, ANYBODY = 0x59616D61, ctypes.c_ulong(-1)

RUN = {"run": ("#!/bin/sh\nexec true\n", 0o755), "environment": ("A=b\n", 0o600)}
OTHER = {"run": ("#!/bin/sh\nexec false\n", 0o755), "environment": ("A=c\n", 0o600)}


@dataclass(frozen=True, slots=True)
class Scenario:
    """Operations on one part of the state, and how to read the result."""

    open: Callable[[Path], Any]
    close: Callable[[Any], None]
    operations: tuple[Callable[[Any], object], ...]
    read: Callable[[Path], object]
    """Returns the state as the next daemon sees it."""


def _history(directory: Path) -> History:
    history = History(directory)
    history.open()
    return history


def _dump(directory: Path) -> object:
    history = _history(directory)
    try:
        db = history.source._require()
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return list(db.iterdump())
    finally:
        history.close()


def _pinned(directory: Path) -> object:
    """Map instances to everything with which they would start."""
    pins = Pins(directory)

    def files(number: int) -> dict[str, str]:
        own = pins.generation_dir("web", number)
        texts = {path.name: f"{path.stat().st_mode:o} {path.read_text()}" for path in own.iterdir() if path.is_file()}
        return texts | {"release": str((own / "release").readlink())}

    standby = pins.standby("web")
    return {
        instance: (number, files(number), standby[instance].since if instance in standby else None)
        for instance, number in pins.held("web").items()
    }


def _texts(directory: Path) -> object:
    return {path.name: path.read_text() for path in directory.iterdir() if not path.name.startswith(".")}


def _unit(name: str, text: str) -> Unit:
    return Unit(name, f"{HEADER}web.toml\n[Unit]\nDescription={text}\n")


SCENARIOS = {
    "history": Scenario(_history, History.close, OPERATIONS, _dump),
    "pins": Scenario(
        Pins,
        lambda _: None,
        (
            lambda pins: pins.write_generation("web", 1, RUN, "/srv/1"),
            lambda pins: pins.pin("web", 1, 1),
            lambda pins: pins.pin("web", 2, 1),
            lambda pins: pins.write_generation("web", 2, OTHER, "/srv/2"),
            lambda pins: pins.write_generation("web", 2, RUN, "/srv/2"),  # never recorded
            lambda pins: pins.pin("web", 1, 2),
            lambda pins: pins.set_aside("web", 2, 1, 123.25),
            lambda pins: pins.pin("web", 2, 1),
            lambda pins: pins.set_aside("web", 1, 2, 124.5),
            lambda pins: pins.unpin("web", 2),
            lambda pins: pins.unpin("web", 1),
            lambda pins: pins.pin("web", 1, 2),
            lambda pins: pins.prune("web", {2}),
        ),
        _pinned,
    ),
    "units": Scenario(
        lambda directory: UnitDirectory(directory, others=()),
        lambda _: None,
        (
            lambda units: units.install([_unit("web@.service", "first")]),
            lambda units: units.install([_unit("web.socket", "first")]),
            lambda units: units.install([_unit("web@.service", "second")]),
            lambda units: units.install([_unit("web@3.service", "first")]),
            lambda units: units.install([], ["web@3.service"]),
        ),
        _texts,
    ),
}


def run(scenario: Scenario, directory: Path, returned: int) -> None:
    """Run all operations; write to `returned` after each."""
    subject = scenario.open(directory)
    for operation in scenario.operations:
        operation(subject)
        os.write(returned, b".")
    scenario.close(subject)


@dataclass(frozen=True, slots=True)
class Call:
    """The `nth` call of its name; strace counts each name separately."""

    name: str
    nth: int


def traced(scenario: Scenario, directory: Path, *options: str) -> tuple[int, int, str]:
    """Run a scenario under strace; return the number of operations that returned, the exit status and the trace."""
    returned, returning = os.pipe()
    waiting, go = os.pipe()
    if not (child := os.fork()):
        os.close(go)
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANYBODY, 0, 0, 0)  # for systems where a tracer must be an ancestor
        os.read(waiting, 1)
        run(scenario, directory, returning)
        os._exit(0)
    os.close(returning)
    output = directory.with_name("strace")
    command = ["strace", f"--attach={child}", f"--output={output}", *options]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        attached = tracer.stderr.readline()
        assert "attached" in attached, attached
        os.write(go, b"g")
        with os.fdopen(returned) as dots:
            operations = len(dots.read())
        _, status = os.waitpid(child, 0)
        tracer.stderr.read()
    os.close(go)
    os.close(waiting)
    return operations, os.waitstatus_to_exitcode(status), output.read_text()


def changes(trace: str) -> list[Call]:
    """Return the calls of a trace that change a file, in order."""
    seen, found = Counter[str](), []
    for line in trace.splitlines():
        name, bracket, rest = line.partition("(")
        if bracket:
            seen[name] += 1
            if not name.startswith("open") or "O_CREAT" in rest:
                found.append(Call(name, seen[name]))
    return found


def main() -> None:
    scenario, directory = SCENARIOS[sys.argv[1]], Path(sys.argv[2])
    (directory / "whole").mkdir()
    _, _, trace = traced(scenario, directory / "whole", f"--trace={','.join(CALLS)}")
    for number, call in enumerate(changes(trace)):
        own = directory / str(number)
        own.mkdir()
        inject = f"--inject={call.name}:signal=SIGKILL:when={call.nth}"
        operations, status, _ = traced(scenario, own, f"--trace={call.name}", inject)
        if status != -signal.SIGKILL:
            raise SystemExit(f"the process was not killed at {call}: status {status}")
        print(number, operations, f"{call.name} #{call.nth}", flush=True)


if __name__ == "__main__":
    main()
