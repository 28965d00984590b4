"""The app `demo` on a host: its releases, its rollouts, its load, and what systemd's own journal says about it.

Tests of rollouts take the fixture `stage`. Everything it starts is ended with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from tests.host.begun import DEADLINE, Begun, Ended, Json
from tests.host.machine import Machine
from tests.host.root import IN_HOST
from tests.host.unit_journal import UnitJournal
from tests.load.client import Load
from tests.sample_apps.release import app_file, make_release

__all__ = ["APP", "APP_FILE", "DEADLINE", "INSTANCES", "PORT", "RELEASES", "Begun", "Ended", "Json", "Ran", "Stage"]

APP = "demo"
PORT = 8080
INSTANCES = 4
LISTENING = "0A"
"""TCP_LISTEN as /proc/net/tcp has it."""
APP_FILE = f"/etc/deployd/apps/{APP}.toml"
RELEASES = f"/srv/{APP}"


@dataclass(frozen=True, slots=True)
class Ran:
    """One start of an instance. Equal when the very same process still runs."""

    generation: int
    pid: int
    invocation: str


@dataclass(slots=True)
class Stage:
    """`demo` on `machine`: 4 instances on port 8080, unless `configure` says otherwise."""

    machine: Machine
    settings: dict[str, object] = field(default_factory=dict)
    journal: UnitJournal = field(init=False)
    """What systemd says happened, since the stage was made or `journal.restart()`."""
    _open: list[Load | Begun] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.journal = UnitJournal(self.machine, APP)

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

    def process(self, instance: int) -> tuple[list[str], dict[str, str]]:
        """Command line and environment of an instance's main process, as the kernel has them."""
        proc = self.machine.path(f"/proc/{self.pid(instance)}")
        argv, environ = ((proc / name).read_text().split("\0")[:-1] for name in ("cmdline", "environ"))
        return argv, dict(item.partition("=")[::2] for item in environ)

    def kill(self, instance: int) -> int:
        """SIGKILL the main process of an instance. How many connections it held, whose requests may be lost."""
        pid = self.pid(instance)
        if not pid:
            return 0  # it has none just now
        self.machine.run(["kill", "-STOP", str(pid)])  # it accepts no more while we count
        proc = self.machine.path(f"/proc/{pid}")
        inodes = {link.removeprefix("socket:[").removesuffix("]") for link in map(os.readlink, (proc / "fd").iterdir())}
        rows = [line.split() for line in (proc / "net/tcp").read_text().splitlines()[1:]]
        held = sum(row[9] in inodes and row[3] != LISTENING for row in rows)
        self.machine.run(["kill", "-KILL", str(pid)])
        return held

    def get(self, path: str = "/", timeout: float = DEADLINE, port: int = PORT) -> Json:
        """One request on a connection of its own; what the application answered."""
        with self.machine.connect(("127.0.0.1", port), timeout) as connection:
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
