"""The app `demo` on a host: its releases, its rollouts, its load, and what systemd's own journal says about it.

Tests of rollouts take the fixture `stage`. Everything it starts is ended with it.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import pytest

from tests.apps.release import app_file, make_release
from tests.host.machine import Machine
from tests.host.root import IN_HOST
from tests.load.client import Load

APP = "demo"
PORT = 8080
INSTANCES = 4
APP_FILE = f"/etc/deployd/apps/{APP}.toml"
RELEASES = f"/srv/{APP}"
DEADLINE = 60.0

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that begins a rollout, when it has ended: exit status, the events of --json, standard error."""

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
        """(instance, generation) of the events that tell of this state, in their order."""
        told = (event for event in self.events if event["event"] == "instance" and event["state"] == state)
        return [(event["instance"], event["generation"]) for event in told]


@dataclass(frozen=True, slots=True)
class Ran:
    """One start of an instance. Equal when the very same process still runs."""

    generation: int
    pid: int
    invocation: str


class Begun:
    """A rollout under way, as its command tells of it. `until` an event, then `end`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.events: list[Json] = []
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._complaints: list[str] = []
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
        self._complaints += self.process.stderr

    def next(self, within: float = DEADLINE) -> Json | None:
        """The next event; None when there are no more."""
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
        """Read on to the next event of this name with these fields."""
        wanted = {"event": event, **fields}
        while (seen := self.next(within)) is not None:
            if wanted.items() <= seen.items():
                return seen
        raise AssertionError(f"the rollout ended without {wanted}: {self.events} {''.join(self._complaints)}")

    def end(self, within: float = DEADLINE) -> Ended:
        """Read to the end."""
        while self.next(within) is not None:
            pass
        status = self.process.wait(within)
        self._close()
        return Ended(status, self.events, "".join(self._complaints))

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


@dataclass(slots=True)
class Stage:
    """`demo` on `machine`: 4 instances on port 8080, unless `configure` says otherwise."""

    machine: Machine
    settings: dict[str, object] = field(default_factory=dict)
    _open: list[Load | Begun] = field(default_factory=list)

    # ---- what there is to deploy

    def release(
        self,
        version: str,
        mode: str = "good",
        boot: float = 0.0,
        handler_ms: float | None = None,
        files: Mapping[str, str] | None = None,
    ) -> str:
        """Write a release directory, and return its path in the host."""
        path = f"{RELEASES}/{version}"
        make_release(self.machine.path(path), version, mode, boot, handler_ms, files)
        return path

    def configure(self, **settings: object) -> None:
        """Write the app file: what it had before, with these keys and tables in place of theirs (None: left out)."""
        self.settings |= settings
        options = {"port": PORT, "instances": INSTANCES} | self.settings
        self.machine.write(APP_FILE, app_file(APP, **options))  # type: ignore[arg-type]

    # ---- commands

    def deployd(
        self, *argv: str, user: str | None = None, timeout: float = DEADLINE
    ) -> subprocess.CompletedProcess[str]:
        """Run the command, whatever its exit status."""
        return self.machine.run(["deployd", *argv], check=False, user=user, timeout=timeout)

    def begin(self, verb: str, *argv: str) -> Begun:
        """`deployd VERB demo … --json`, without waiting for its end."""
        command = ["deployd", verb, APP, *argv, "--json"]
        begun = Begun(self.machine.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        self._open.append(begun)
        return begun

    def change(self, verb: str, *argv: str) -> Ended:
        """`deployd VERB demo … --json`, to its end."""
        with self.begin(verb, *argv) as begun:
            return begun.end()

    def rollout(self, release: str | None = None) -> Ended:
        """Roll out, a release or what the app file says."""
        return self.change("rollout", *(["--release", release] if release else []))

    def deploy(self, version: str = "v1", **settings: object) -> Ended:
        """The first deploy: a good release `version`, with `settings` in the app file, applied."""
        self.configure(release=self.release(version), **settings)
        ended = self.change("apply")
        assert ended.status == 0, ended
        assert ended.result == "succeeded", ended
        return ended

    # ---- what is

    def json(self, *argv: str) -> Json:
        done = self.deployd(*argv, "--json")
        assert done.returncode == 0, done.stderr
        answer: Json = json.loads(done.stdout)
        return answer

    def status(self) -> Json:
        return self.json("status", APP)

    def history(self) -> list[Json]:
        """The generations, newest first."""
        generations: list[Json] = self.json("history", APP)["generations"]
        return generations

    def invocations(self) -> dict[int, Ran]:
        """The instances that are ready, as systemd tells of their processes: what a rollout must not touch is equal
        before and after."""
        found = {}
        for item in self.status()["instances"]:
            if item["ready"]:
                show = self.show(item["unit"], "MainPID", "InvocationID", "ActiveState")
                assert show["ActiveState"] == "active", (item, show)
                found[item["instance"]] = Ran(item["generation"], int(show["MainPID"]), show["InvocationID"])
        return found

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit as `systemctl show` tells them."""
        text = self.machine.run(["systemctl", "show", f"--property={','.join(properties)}", unit]).stdout
        return {key: value for key, _, value in (line.partition("=") for line in text.splitlines())}

    def pid(self, instance: int) -> int:
        """Main process, as the host numbers it."""
        return int(self.show(f"{APP}@{instance}.service", "MainPID")["MainPID"])

    def get(self, path: str = "/", timeout: float = DEADLINE) -> Json:
        """One request on a connection of its own; what the application answered."""
        with self.machine.connect(("127.0.0.1", PORT), timeout) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {APP}\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), answer
        fields: Json = json.loads(body)
        return fields

    # ---- load

    def load(self, rate: float = 200, keepalive: int = 4, *options: str) -> Load:
        """Load from inside the host, warm. `stop()` it for the record."""
        load = Load.start(
            self.machine.popen,
            PORT,
            rate,
            keepalive,
            options=options,
            python="/usr/bin/python3",
            env={"PYTHONPATH": str(IN_HOST)},
        )
        self._open.append(load)
        return load

    def close(self) -> None:
        """End what was started and has not ended."""
        for item in reversed(self._open):
            with contextlib.suppress(ProcessLookupError):
                item.__exit__(None, None, None)
        self._open.clear()


@pytest.fixture
def stage(machine: Machine) -> Iterator[Stage]:
    """A clean host to deploy `demo` on."""
    stage = Stage(machine)
    yield stage
    stage.close()
