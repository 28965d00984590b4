"""Runs the workers of one queue on a host: rollouts, bad releases and killed workers while jobs arrive."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.host.machine import Machine
from tests.host.root import CHECKOUT, IN_HOST
from tests.host.stage import APP, RELEASES, Stage
from tests.host.waiting import WaitError
from tests.queues.catalog import APPS, DEBIAN, Queue
from tests.queues.counted import Counted, counted
from tests.servers import packages

REQUIREMENTS = APPS.parent / "requirements.txt"
PRODUCER = "/srv/produce.py"
REST = 240.0
"""Seconds for the jobs that are left when no more arrive: those of a killed worker come back after a while."""
PATIENCE = 120.0
"""Seconds until a killed worker runs again: the pool of Celery waits for half a minute before it ends."""
QUIET = 30.0
"""Seconds without a line in the log after which nothing more is expected of workers that lose jobs."""


def fetch(machine: Machine) -> dict[str, str]:
    """Put Redis and the queues on a host; return the environment in which Python finds them."""
    packages.unpack(machine, packages.debian_packages(machine.root, DEBIAN))
    python = packages.python_packages(machine.root, REQUIREMENTS, "queues")
    return {"PYTHONPATH": str(IN_HOST / python.relative_to(CHECKOUT))}


@dataclass(slots=True)
class Proof:
    """One queue on a clean host."""

    stage: Stage
    queue: Queue
    environment: dict[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        """Start Redis, and deploy a good release."""
        machine = self.stage.machine
        self.environment = fetch(machine)
        machine.write(PRODUCER, (APPS / "produce.py").read_text())
        machine.run(["systemd-run", "--unit=redis", "redis-server", "--save", "", "--appendonly", "no"])
        machine.wait_for(lambda: self.redis("ping", check=False) == ["PONG"], what="Redis")
        self.redis("flushall")
        self.stage.configure(**self.settings(self.release("v1")))
        assert self.stage.deployd("check", APP).returncode == 0
        ended = self.stage.change("apply")
        assert ended.result == "succeeded", ended

    def settings(self, release: str) -> dict[str, Any]:
        """Return what `deployd init` writes, with what a user would change."""
        argv = ["init", APP, "--preset", self.queue.preset, "--release", release, "--instances", "2", "--output", "-"]
        done = self.stage.deployd(*argv)
        assert done.returncode == 0, done.stderr
        made = tomllib.loads(done.stdout)
        made["exec"] += self.queue.arguments
        changes = {"environment": self.environment, "gate": {"timeout": "20s"}, "listen": None, "routing": None}
        return _merged(_merged(made, changes), self.queue.settings)

    def release(self, version: str, behaviour: str = "good") -> str:
        """Write a release; return its path."""
        path = f"{RELEASES}/{version}"
        for name, source in self.queue.files.items():
            self.stage.machine.write(f"{path}/{name}", source.read_text())
        self.stage.machine.write(f"{path}/behaviour", f"{behaviour}\n")
        return path

    def redis(self, *argv: str, check: bool = True) -> list[str]:
        """Run a command of Redis, and return the lines of its answer."""
        return self.stage.machine.run(["redis-cli", *argv], check=check).stdout.splitlines()

    @contextmanager
    def jobs(self) -> Iterator[list[Counted]]:
        """Enqueue jobs during the block; afterwards the list has what became of them when all had ended."""
        self.redis("del", "log")
        machine, found = self.stage.machine, list[Counted]()
        argv = ["/usr/bin/python3", PRODUCER, self.queue.preset, str(self.queue.rate)]
        producer = machine.popen(argv, env=self.environment, stdout=subprocess.PIPE)
        try:
            machine.wait_for(lambda: self.redis("llen", "log") != ["0"], what="the first job")
            yield found
            machine.signal(producer, signal.SIGTERM)
            enqueued = int(producer.communicate(timeout=30)[0])
        finally:
            producer.kill()
        found.append(self._rest(enqueued))

    def _rest(self, enqueued: int) -> Counted:
        """Wait for the jobs that are left, as long as workers do some; return what became of all."""
        limit = REST if self.queue.kept else QUIET
        with contextlib.suppress(WaitError):
            self.stage.machine.wait_for(
                lambda: not counted(enqueued, self.log()).lost, timeout=limit, what="the end of all jobs"
            )
        return counted(enqueued, self.log())

    def log(self) -> list[str]:
        return self.redis("lrange", "log", "0", "-1")

    def rollouts(self, count: int) -> Counted:
        """Roll out good releases while jobs arrive."""
        with self.jobs() as found:
            for number in range(count):
                ended = self.stage.rollout(self.release(f"v{2 - number % 2}"))
                assert ended.result == "succeeded", ended
        return found[0]

    def bad(self, behaviour: str) -> Counted:
        """Roll out a bad release while jobs arrive: it is taken back, and no worker is touched."""
        before = self.stage.invocations()
        with self.jobs() as found:
            ended = self.stage.rollout(self.release(behaviour, behaviour))
            assert ended.result == "rolled-back", ended
        assert self.stage.invocations() == before
        return found[0]

    def killed(self, count: int) -> Counted:
        """Kill workers while jobs arrive, one after another."""
        with self.jobs() as found:
            for turn in range(count):
                self._kill(turn)
        return found[0]

    def _kill(self, turn: int) -> None:
        """Kill a worker in the middle of its jobs, and wait until systemd has started it again.

        They take turns: one that crashes again and again is kept down for a while.
        """
        machine, began = self.stage.machine, len(self.log())
        machine.wait_for(lambda: len(self.log()) > began + 5, what="more jobs")
        ready = sorted(self.stage.invocations().items())
        number, ran = ready[turn % len(ready)]
        machine.run(["kill", "-KILL", str(ran.pid)])
        machine.wait_for(lambda: self.stage.invocations().get(number, ran) != ran, PATIENCE, "its automatic restart")


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(base)
    for key, value in changes.items():
        before = found.get(key)
        found[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, Mapping) else value
    return found
