"""Clients with connections of their own, a thread for each, in a process that is driven like tests.load.

`drive` reads `stop`, `mark NAME` and `progress` from stdin; it prints `ready`, the replies, the summary and the record.
"""

import argparse
import contextlib
import json
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from tests.load.record import Mark, Record, Request


class Clients(ABC):
    """Clients of one server. `run` returns when `stopping` is set and the last request has ended."""

    def __init__(self, address: tuple[str, int], timeout: float) -> None:
        """`timeout`: the seconds without a byte after which a request has failed."""
        self.address = address
        self.timeout = timeout
        self.done: list[Request] = []
        self.marks: list[Mark] = []
        self.facts: dict[str, int] = {}
        self.stopping = threading.Event()

    @abstractmethod
    def loops(self, clients: int) -> Sequence[Callable[[], None]]:
        """Return what each thread does until `stopping` is set."""

    def run(self, clients: int, on_ready: Callable[[], None]) -> Record:
        start = time.monotonic()
        threads = [threading.Thread(target=loop) for loop in self.loops(clients)]
        for thread in threads:
            thread.start()
        on_ready()
        self.stopping.wait()
        end = time.monotonic()
        for thread in threads:
            thread.join()
        return Record.of(self.done, start, end, self.marks, dict(self.facts))


def parser(module: str) -> argparse.ArgumentParser:
    """Return a parser of the options that all clients have."""
    arguments = argparse.ArgumentParser(prog=f"python3 -m {module}")
    arguments.add_argument("--host", default="127.0.0.1")
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--clients", type=int, default=1, help="of each kind")
    arguments.add_argument("--timeout", type=float, default=15.0, help="seconds without a byte")
    return arguments


def drive(clients: Clients, count: int) -> None:
    """Run the clients until stdin says `stop` or ends."""

    def execute() -> None:
        for line in sys.stdin:
            command, _, rest = line.strip().partition(" ")
            if command == "stop":
                break
            if command == "mark":
                clients.marks.append(Mark(rest, time.monotonic()))
                say(f"mark {rest} {clients.marks[-1].at}")
            elif command == "progress":
                done = list(clients.done)
                say("progress " + json.dumps({"requests": len(done), "failed": sum(item.failed for item in done)}))
        clients.stopping.set()

    threading.Thread(target=execute, daemon=True).start()
    record = clients.run(count, lambda: say("ready"))
    with contextlib.suppress(BrokenPipeError):
        say(json.dumps(record.summary()))
        record.dump(sys.stdout)
        sys.stdout.flush()


def say(line: str) -> None:
    print(line, flush=True)
