"""A load generator in a process of its own, started, marked and stopped from here.

It may run in the namespaces of a disposable host: everything goes through its stdin and stdout, because a signal would
reach the program that entered the namespaces, and a file would be written where we cannot see it.
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
    """The load generator died or did not answer in time."""


class Load:
    """`Load.start(…)`, then `wait_ready`, `mark`, and at last `stop`, which returns the Record."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.commands: IO[str] = process.stdin
        self.output: IO[str] = process.stdout
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.ready = False
        # Read all the time, or a full pipe would halt the load.
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
        """Start it and wait until it is warm (`ready_within=None`: do not wait). `options` are more of its command
        line; `keywords` go to popen, `cwd=` above all: the directory that has this tree."""
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
            raise LoadError(f"the load generator did not answer within {within} s") from None

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
        """Record the mark; returns its time."""
        self.send(f"mark {name}")
        return float(self.answer("mark", within).rpartition(" ")[2])

    def progress(self, within: float = 10) -> dict[str, int]:
        """{"requests": …, "failed": …} so far."""
        self.send("progress")
        progress: dict[str, int] = json.loads(self.answer("progress", within))
        return progress

    def stop(self, within: float = 60) -> Record:
        """Stop sending, await what is awaited, and return what was seen."""
        with contextlib.suppress(LoadError):  # its --duration is over: the record is on its way already
            self.send("stop")
        return self.finish(within)

    def finish(self, within: float = 60) -> Record:
        """Await the end of a load that was given a --duration."""
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
        """For clean-up after a failure: its stdin ends, so it stops by itself, in whatever namespace it is."""
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
