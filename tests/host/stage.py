"""The app `demo` on a host: its releases, rollouts and load, and its entries in systemd's journal.

Tests of rollouts use the fixture `stage`. Everything it starts ends with it.
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
"""TCP_LISTEN in /proc/net/tcp."""
APP_FILE = f"/etc/deployd/apps/{APP}.toml"
RELEASES = f"/srv/{APP}"
BARRIER = "/srv/barrier"


@dataclass(frozen=True, slots=True)
class Ran:
    """One start of an instance. Equal if the same process still runs."""

    generation: int
    pid: int
    invocation: str


@dataclass(slots=True)
class Stage:
    """`demo` on `machine`, by default with 4 instances on port 8080."""

    machine: Machine
    settings: dict[str, object] = field(default_factory=dict)
    journal: UnitJournal = field(init=False)
    """Entries of systemd since the stage was created or `journal.restart()`."""
    _open: list[Load | Begun] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.journal = UnitJournal(self.machine, APP)

    # ---- releases and app file

    def release(
        self,
        version: str,
        mode: str = "good",
        boot: float = 0.0,
        handler_ms: float | None = None,
        files: Mapping[str, str] | None = None,
        barrier: bool = False,
    ) -> str:
        """Write a release directory, and return its path on the host. With `barrier`, its instances boot until they are
        admitted: no rollout of it ends before the test wants it to."""
        path = f"{RELEASES}/{version}"
        more = {"barrier": BARRIER} if barrier else {}
        make_release(self.machine.path(path), version, mode, boot, handler_ms, {**more, **(files or {})})
        return path

    def admit(self, *numbers: int) -> None:
        """Let instances pass the barrier of their release, all of them by default."""
        for name in numbers or ("all",):
            self.machine.write(f"{BARRIER}/{name}", "")

    def configure(self, **settings: object) -> None:
        """Write the app file with its previous keys, replaced by these keys and tables (None: removed)."""
        self.settings |= settings
        options = {"port": PORT, "instances": INSTANCES} | self.settings
        self.machine.write(APP_FILE, app_file(APP, **options))  # type: ignore[arg-type]

    # ---- commands

    def deployd(
        self, *argv: str, user: str | None = None, timeout: float = DEADLINE
    ) -> subprocess.CompletedProcess[str]:
        """Run deployd, whatever its exit status."""
        return self.machine.run(["deployd", *argv], check=False, user=user, timeout=timeout)

    def begin(self, verb: str, *argv: str) -> Begun:
        """Start `deployd VERB demo … --json` without waiting for its end."""
        command = ["deployd", verb, APP, *argv, "--json"]
        begun = Begun(self.machine.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        self._open.append(begun)
        return begun

    def change(self, verb: str, *argv: str) -> Ended:
        """Run `deployd VERB demo … --json` to its end."""
        with self.begin(verb, *argv) as begun:
            return begun.end()

    def rollout(self, release: str | None = None) -> Ended:
        """Roll out a release, or that of the app file."""
        return self.change("rollout", *(["--release", release] if release else []))

    def deploy(self, version: str = "v1", **settings: object) -> Ended:
        """Deploy a good release `version`, with `settings` in the app file."""
        self.configure(release=self.release(version), **settings)
        ended = self.change("apply")
        assert ended.status == 0, ended
        assert ended.result == "succeeded", ended
        return ended

    # ---- state

    def json(self, *argv: str) -> Json:
        done = self.deployd(*argv, "--json")
        assert done.returncode == 0, done.stderr
        answer: Json = json.loads(done.stdout)
        return answer

    def status(self) -> Json:
        return self.json("status", APP)

    def history(self) -> list[Json]:
        """Return the generations, newest first."""
        generations: list[Json] = self.json("history", APP)["generations"]
        return generations

    def invocations(self) -> dict[int, Ran]:
        """Return the ready instances with their processes, as known to systemd.

        Instances that a rollout did not change are equal before and after it.
        """
        ready = [item for item in self.status()["instances"] if item["ready"]]
        if not ready:
            return {}
        argv = ["show", "--property=MainPID,InvocationID,ActiveState", *(item["unit"] for item in ready)]
        found = {}
        for item, text in zip(ready, self.systemctl(*argv).stdout.strip().split("\n\n"), strict=True):
            show = _properties(text)
            assert show["ActiveState"] == "active", (item, show)
            found[item["instance"]] = Ran(item["generation"], int(show["MainPID"]), show["InvocationID"])
        return found

    def systemctl(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run systemctl(1) for the service manager of the app."""
        return self.machine.run(["systemctl", *argv], check=check)

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Return properties of a unit as printed by `systemctl show`."""
        return _properties(self.systemctl("show", f"--property={','.join(properties)}", unit).stdout)

    def pid(self, instance: int) -> int:
        """Return the PID of the main process on the host."""
        return int(self.show(f"{APP}@{instance}.service", "MainPID")["MainPID"])

    def process(self, instance: int) -> tuple[list[str], dict[str, str]]:
        """Return command line and environment of an instance's main process from /proc."""
        proc = self.machine.path(f"/proc/{self.pid(instance)}")
        argv, environ = ((proc / name).read_text().split("\0")[:-1] for name in ("cmdline", "environ"))
        return argv, dict(item.partition("=")[::2] for item in environ)

    def kill(self, instance: int) -> int:
        """Send SIGKILL to the main process of an instance; return the number of its connections, which may be lost."""
        pid = self.pid(instance)
        if not pid:
            return 0  # no process now
        self.machine.run(["kill", "-STOP", str(pid)])  # it must not accept while its connections are counted
        proc = self.machine.path(f"/proc/{pid}")
        self.machine.wait_for(lambda: "\nState:\tT" in (proc / "status").read_text(), what="the process to stop")
        inodes = {link.removeprefix("socket:[").removesuffix("]") for link in map(os.readlink, (proc / "fd").iterdir())}
        rows = [line.split() for line in (proc / "net/tcp").read_text().splitlines()[1:]]
        held = sum(row[9] in inodes and row[3] != LISTENING for row in rows)
        self.machine.run(["kill", "-KILL", str(pid)])
        return held

    def get(self, path: str = "/", timeout: float = DEADLINE, port: int = PORT) -> Json:
        """Send one request on a new connection; return the response."""
        with self.machine.connect(("127.0.0.1", port), timeout) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {APP}\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), answer
        fields: Json = json.loads(body)
        return fields

    # ---- load

    def load(self, rate: float = 200, keepalive: int = 4, *options: str) -> Load:
        """Start a load on the host and wait until it has warmed up; `stop()` returns the record."""
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
        """End everything that was started."""
        for item in reversed(self._open):
            with contextlib.suppress(ProcessLookupError):
                item.__exit__(None, None, None)
        self._open.clear()


def _properties(text: str) -> dict[str, str]:
    return {key: value for key, _, value in (line.partition("=") for line in text.splitlines())}


@pytest.fixture
def stage(machine: Machine) -> Iterator[Stage]:
    """A clean host for `demo`."""
    stage = Stage(machine)
    yield stage
    stage.close()
