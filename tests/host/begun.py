"""A command that begins a rollout: its events as they arrive, and its result."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

DEADLINE = 60.0

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of such a command: exit status, the events of --json, standard error."""

    status: int
    events: list[Json]
    stderr: str

    @property
    def finished(self) -> Json:
        """The last event."""
        assert self.events, f"no event at all; status {self.status}: {self.stderr}"
        assert self.events[-1]["event"] == "finished", self.events[-1]
        return self.events[-1]

    @property
    def result(self) -> str:
        return str(self.finished["result"])

    @property
    def reason(self) -> str:
        return str(self.finished["reason"])

    @property
    def generation(self) -> int:
        return int(self.finished["generation"])

    def instances(self, state: str) -> list[tuple[int, int]]:
        """Return (instance, generation) of the events with this state, in order."""
        found = (event for event in self.events if event["event"] == "instance" and event["state"] == state)
        return [(event["instance"], event["generation"]) for event in found]


class Begun:
    """A rollout in progress, as reported by its command. Call `until` an event, then `end`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.events: list[Json] = []
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._errors: list[str] = []
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _read_errors(self) -> None:
        assert self.process.stderr
        self._errors += self.process.stderr

    def next(self, within: float = DEADLINE) -> Json | None:
        """Return the next event; None if there are no more."""
        try:
            line = self._lines.get(timeout=within)
        except queue.Empty:
            raise AssertionError(f"no event for {within:g} s after {self.events[-1:]}") from None
        if not line:
            self._lines.put("")
            return None
        event: Json = json.loads(line)
        self.events.append(event)
        return event

    def until(self, event: str, within: float = DEADLINE, **fields: object) -> Json:
        """Read up to the next event of this name with these fields."""
        wanted = {"event": event, **fields}
        while (seen := self.next(within)) is not None:
            if wanted.items() <= seen.items():
                return seen
        raise AssertionError(f"the rollout ended without {wanted}: {self.events} {''.join(self._errors)}")

    def end(self, within: float = DEADLINE) -> Ended:
        """Read to the end."""
        while self.next(within) is not None:
            pass
        status = self.process.wait(within)
        self._close()
        return Ended(status, self.events, "".join(self._errors))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._close()

    def _close(self) -> None:
        for reader in self._readers:
            reader.join(DEADLINE)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self.process.stdout is not None and not self.process.stdout.closed:
            self.kill()
