"""Runs one server on a host: rollouts under load of all kinds, then its bad releases. Every request is counted."""

from __future__ import annotations

import subprocess
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.host.machine import Machine
from tests.host.root import CHECKOUT, IN_HOST
from tests.host.stage import APP, INSTANCES, PORT, RELEASES, Ended, Stage
from tests.load.client import Load
from tests.load.record import Record
from tests.servers import packages
from tests.servers.result import Bad, Counted, Row
from tests.servers.server import Behaviour, Server


@dataclass(frozen=True, slots=True)
class Pressure:
    """The load of a run."""

    rate: float = 40
    keepalive: int = 4
    clients: int = 1
    """With long requests, of each kind."""
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

    def prepare(self) -> None:
        """Put the server on the host and deploy a good release of its app."""
        machine = self.stage.machine
        if self.server.debian:
            packages.unpack(machine, packages.debian_packages(machine.root, self.server.debian))
        if self.server.setup:
            machine.run(["sh", "-e", "-c", self.server.setup])
        settings = self.preset(self.release("v1"))
        if self.server.python:
            directory = packages.python_packages(machine.root)
            settings = merged(settings, {"environment": {"PYTHONPATH": f"{IN_HOST / directory.relative_to(CHECKOUT)}"}})
        self.stage.configure(
            **merged(settings, {"gate": {"timeout": f"{self.pressure.gate:g}s"}, "routing": self.mode})
        )
        ended = self.stage.change("apply")
        assert ended.result == "succeeded", ended

    def preset(self, release: str) -> dict[str, Any]:
        """Return what `deployd init` writes, with what a user would change."""
        argv = ["init", APP, "--preset", self.server.preset, "--release", release, "--instances", str(INSTANCES)]
        done = self.stage.deployd(*argv, "--listen", f"127.0.0.1:{PORT}", "--output", "-")
        assert done.returncode == 0, done.stderr
        return merged(tomllib.loads(done.stdout), self.server.settings)

    def release(self, version: str, behaviour: Behaviour = Behaviour.GOOD) -> str:
        """Write a release; return its path."""
        path = f"{RELEASES}/{version}"
        for name, text in self.server.release(behaviour).items():
            self.stage.machine.write(f"{path}/{name}", text, 0o755 if text.startswith("#!") else 0o644)
        return path

    def rollouts(self, count: int) -> tuple[Counted, float]:
        """Roll out good releases under load; return the requests, and the seconds for each instance beyond its boot."""
        beyond = []
        with self.load() as load:
            for number in range(count):
                release = self.release(f"v{2 - number % 2}")
                ended = self.stage.rollout(release)
                assert ended.result == "succeeded", ended
                boots = [item["boot"] or 0.0 for item in self.stage.status()["instances"]]
                beyond.append(ended.finished["duration"] / INSTANCES - sum(boots) / len(boots))
        return load.counted(), round(sum(beyond) / len(beyond), 2)

    def bad(self, behaviour: Behaviour) -> Bad:
        """Roll out a bad release under load."""
        path = self.release(str(behaviour), behaviour)
        before = self.stage.invocations()
        with self.load() as load:
            began = time.monotonic()
            ended = self.stage.rollout(path)
            seconds = round(time.monotonic() - began, 1)
        counted = load.counted()
        stopped = ended.result == "rolled-back" and self.untouched(before)
        if not stopped:  # the next one starts from a good release
            self.recover()
        return Bad(str(behaviour), stopped, reason(ended), seconds, counted.requests, counted.failed, counted.outcomes)

    def untouched(self, before: object) -> bool:
        """True if the same processes are ready as before the rollout."""
        return self.stage.status()["ready"] == INSTANCES and self.stage.invocations() == before

    def recover(self) -> None:
        assert self.stage.rollout(self.release("v3")).result == "succeeded"

    @contextmanager
    def load(self) -> Iterator[Both]:
        """Load of all kinds while the context lasts."""
        both = Both(self.stage, self.pressure)
        try:
            yield both
            both.stop()
        finally:
            both.close()

    def version(self) -> str:
        """Return the version of the server."""
        env = {"PYTHONPATH": self.stage.process(1)[1].get("PYTHONPATH", "")} if self.server.python else {}
        return self.stage.machine.run(["sh", "-c", self.server.version], env=env).stdout.split()[-1]


class Both:
    """The load generator and the clients with long requests."""

    def __init__(self, stage: Stage, pressure: Pressure) -> None:
        self.short = stage.load(pressure.rate, pressure.keepalive)
        argv = ["/usr/bin/python3", "-m", "tests.load.long_requests", "--port", str(PORT)]
        argv += ["--clients", str(pressure.clients), "--seconds", f"{pressure.seconds:g}"]
        pipe = subprocess.PIPE
        self.long = Load(stage.machine.popen(argv, env={"PYTHONPATH": str(IN_HOST)}, stdin=pipe, stdout=pipe))
        self.records: list[Record] = []

    def stop(self) -> None:
        self.records = [self.short.stop(), self.long.stop()]

    def counted(self) -> Counted:
        short, long = self.records
        return Counted.of(short, long)

    def close(self) -> None:
        for load in (self.short, self.long):
            load.__exit__()


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of both, in tables as well; those of `other` win."""
    found = dict(one)
    for key, value in other.items():
        inner = found.get(key)
        found[key] = merged(inner, value) if isinstance(value, Mapping) and isinstance(inner, Mapping) else value
    return found


def reason(ended: Ended) -> str:
    """Return why a rollout ended as it did."""
    return str(ended.events[-1].get("reason", "")) if ended.events else ended.stderr.strip()


def prove(machine: Machine, server: Server, mode: str, rollouts: int, pressure: Pressure | None = None) -> Row:
    """Return the row of a server in one mode, on a host that is cleaned before."""
    machine.clean()
    stage = Stage(machine)
    try:
        proof = Proof(stage, server, mode, pressure or Pressure())
        proof.prepare()
        version = proof.version()
        during, beyond = proof.rollouts(rollouts)
        bad = tuple(proof.bad(behaviour) for behaviour in server.bad)
        return Row(server.name, server.title, version, mode, rollouts, during, beyond, bad, server.note)
    finally:
        stage.close()
