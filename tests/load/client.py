"""Starts and controls a load generator in a process of its own.

It may run in the namespaces of a disposable host, so everything goes through its stdin and stdout: a signal would reach
the program that entered the namespaces, and a file would be written inside of them.
"""

import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import IO, Any

from tests.load.record import Record

PopenLike = Callable[..., "subprocess.Popen[str]"]  # subprocess.Popen, or a Machine's popen


class LoadError(Exception):
    """The load generator died or did not reply in time."""


class Load:
    """A load generator: `Load.start(…)`, then `wait_ready`, `mark`, and finally `stop`, which returns the Record."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.commands: IO[str] = process.stdin
        self.output: IO[str] = process.stdout
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.ready = False
        # Read continuously, because a full pipe would block the load.
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    @classmethod
    def start(
        cls,
        popen: PopenLike,
        port: int,
        rate: float = 300,
        keepalive: int = 0,
        *,
        options: Sequence[str] = (),
        python: str = sys.executable,
        ready_within: float | None = 30,
        **keywords: Any,
    ) -> "Load":
        """Start a load generator and wait until it has warmed up (`ready_within=None`: do not wait).

        `options` are added to its command line; `keywords` are passed to popen, such as `cwd=`, the directory of this
        tree.
        """
        argv = [python, "-m", "tests.load", "--port", str(port), "--rate", str(rate), "--keepalive", str(keepalive)]
        argv += ["--record", "-", "--stop-on-eof", *options]
        load = cls(popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **keywords))
        if ready_within is not None:
            load.wait_ready(ready_within)
        return load

    def read(self) -> None:
        for line in self.output:
            self.lines.put(line.rstrip("\n"))
        self.lines.put("")

    def line_or_end(self, within: float) -> str:
        try:
            return self.lines.get(timeout=within)
        except queue.Empty:
            raise LoadError(f"the load generator did not reply within {within} s") from None

    def next_line(self, within: float) -> str:
        if line := self.line_or_end(within):
            return line
        raise LoadError(f"the load generator ended with status {self.process.wait()}")

    def answer(self, word: str, within: float) -> str:
        while (line := self.next_line(within)).partition(" ")[0] != word:
            self.ready = self.ready or line == "ready"
            if line.startswith("{"):
                raise LoadError(f"the load generator has finished: {line}")
        return line.partition(" ")[2]

    def wait_ready(self, within: float = 30) -> None:
        if not self.ready:
            self.answer("ready", within)
            self.ready = True

    def send(self, command: str) -> None:
        try:
            self.commands.write(command + "\n")
            self.commands.flush()
        except BrokenPipeError:
            raise LoadError(f"the load generator ended with status {self.process.wait()}") from None

    def mark(self, name: str, within: float = 10) -> float:
        """Record a mark; return its time."""
        self.send(f"mark {name}")
        return float(self.answer("mark", within).rpartition(" ")[2])

    def progress(self, within: float = 10) -> dict[str, int]:
        """Return the counts so far: {"requests": …, "failed": …}."""
        self.send("progress")
        progress: dict[str, int] = json.loads(self.answer("progress", within))
        return progress

    def stop(self, within: float = 60) -> Record:
        """Stop sending, wait for pending responses, and return the record."""
        with contextlib.suppress(LoadError):  # after its --duration the record is already being sent
            self.send("stop")
        return self.finish(within)

    def finish(self, within: float = 60) -> Record:
        """Wait for the end of a load with a --duration; return the record."""
        while not self.next_line(within).startswith("{"):
            continue  # a late `ready`
        stored = []
        while line := self.line_or_end(within):
            stored.append(line)
        with contextlib.suppress(BrokenPipeError):
            self.commands.close()
        self.reader.join(within)
        self.output.close()
        if status := self.process.wait(within):
            raise LoadError(f"the load generator ended with status {status}")
        return Record.load(stored)

    def kill(self) -> None:
        """End the load generator after a failure by closing its stdin, which works in any namespace."""
        with contextlib.suppress(BrokenPipeError):
            self.commands.close()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(15)
        self.output.close()

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_: object) -> None:
        if not self.output.closed:
            self.kill()
