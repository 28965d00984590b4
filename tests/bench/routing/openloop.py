"""Builds and runs the open-loop client, openloop.c, which describes what it does; reads what it prints."""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.routing.traffic import Cell
from tests.host.machine import Machine
from tests.host.root import CACHE, CHECKOUT, IN_HOST
from tests.load.record import nearest_rank

SOURCE = Path(__file__).with_suffix(".c")
PROGRAM = CACHE / "openloop"
TAIL = 10.0
"""Seconds for which responses are waited for after the last request."""
STUCK = 60.0
"""Seconds within which the client ends after its last line."""


class LoadError(Exception):
    """The client could not be built, or failed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One request; times in milliseconds."""

    due: float
    """Since the start of the load."""
    service: float
    lag: float
    """How late the client sent it."""
    latency: float
    """Until the response, from when it was due; of an unanswered one until the client gave up."""
    outcome: int

    @property
    def wait(self) -> float:
        """The latency without the time that was asked for."""
        return self.latency - self.service


@dataclass(frozen=True, slots=True)
class Answers:
    started: float
    """On CLOCK_MONOTONIC."""
    requests: tuple[Answer, ...]
    used: float
    """CPU time of the client in seconds."""

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Answers:
        started, used, requests = 0.0, 0.0, []
        for line in lines:
            match line.split():
                case ["started", at]:
                    started = float(at)
                case ["used", seconds]:
                    used = float(seconds)
                case [due, service, lag, latency, outcome]:
                    times = [float(each) / 1000 for each in (due, service, lag, latency)]
                    requests.append(Answer(times[0], times[1], times[2], times[3], int(outcome)))
        if not requests:
            raise LoadError("the client sent no request")
        return cls(started, tuple(requests), used)

    def within(self, begin: float, end: float) -> Answers:
        """Return the requests due from `begin` until `end`, on CLOCK_MONOTONIC."""
        first, last = ((at - self.started) * 1000 for at in (begin, end))
        return Answers(self.started, tuple(each for each in self.requests if first <= each.due < last), self.used)

    def wait(self, percent: float) -> float:
        return nearest_rank(sorted(each.wait for each in self.requests), percent)

    def latency(self, percent: float) -> float:
        return nearest_rank(sorted(each.latency for each in self.requests), percent)

    def lag(self, percent: float) -> float:
        return nearest_rank(sorted(each.lag for each in self.requests), percent)

    @property
    def failed(self) -> int:
        return sum(each.outcome == 1 for each in self.requests)

    @property
    def unanswered(self) -> int:
        return sum(each.outcome == 2 for each in self.requests)


def build() -> None:
    """Compile the client into the cache. Raises LoadError."""
    PROGRAM.parent.mkdir(exist_ok=True)
    with PROGRAM.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if PROGRAM.exists() and PROGRAM.stat().st_mtime >= SOURCE.stat().st_mtime:
            return
        new = PROGRAM.with_suffix(".new")
        argv = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(new), str(SOURCE), "-lm"]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            raise LoadError(f"{SOURCE.name} cannot be compiled: {done.stderr}")
        new.replace(PROGRAM)


def arguments(
    port: int,
    rate: float,
    seconds: float,
    seed: int,
    *,
    cheap: float,
    costly: float = 0.0,
    share: float = 0.0,
    kept: int = 0,
    tail: float = TAIL,
) -> list[str]:
    """Return the arguments of the client; service times in milliseconds."""
    numbers = (port, seconds, rate, round(cheap * 1000), round(costly * 1000), share, kept, tail, seed)
    return [f"{number:g}" if isinstance(number, float) else str(number) for number in numbers]


def of_cell(cell: Cell, port: int, seed: int, scale: float = 1.0) -> list[str]:
    """Return the arguments of the client for a cell."""
    traffic, stretch = cell.traffic, cell.server.stretch
    return arguments(
        port,
        cell.rate,
        traffic.seconds * scale,
        seed,
        cheap=traffic.cheap * stretch,
        costly=traffic.costly * stretch,
        share=traffic.share,
        kept=traffic.kept,
    )


class Client:
    """A running client on the host: `begin` or `stop` it, then `finish`."""

    def __init__(self, machine: Machine, options: Sequence[str]) -> None:
        program = str(IN_HOST / PROGRAM.relative_to(CHECKOUT))
        self._process = machine.popen([program, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._lines: list[str] = []

    def expect(self, word: str) -> None:
        """Wait for a line that begins with a word."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line.partition(" ")[0].strip() != word:
            raise LoadError(f"the client printed {line!r}, not {word!r}, and ended with {self._process.wait()}")
        self._lines.append(line)

    def begin(self) -> None:
        """Send the first request on kept connections, which are open."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def finish(self, stop: bool = False) -> Answers:
        """Wait for the end, with `stop` send no more requests from now on."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if stop:
            self._process.stdin.close()
        self._lines += self._process.stdout  # its own deadlines are in `options`
        self._close()
        if status := self._process.wait(STUCK):
            raise LoadError(f"the client ended with status {status}")
        return Answers.parse(self._lines)

    def _close(self) -> None:
        for file in (self._process.stdin, self._process.stdout):
            if file is not None:
                file.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._close()
