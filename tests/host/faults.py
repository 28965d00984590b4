"""Shared by tests of faults: a rollout under load with a fault, and the checks afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.host.stage import APP, INSTANCES, Begun, Ended, Stage
from tests.host.unit_journal import UnitJournal, What
from tests.load.client import Load

BOOT = 0.2
STATE = "/var/lib/deployd"

Fault = Callable[[Stage, Begun], None]


@dataclass(slots=True)
class Scene:
    """Generation 1 of `demo` under load, with a release for a rollout of generation 2."""

    stage: Stage
    load: Load = field(init=False)
    journal: UnitJournal = field(init=False)
    release: str = ""

    def __post_init__(self) -> None:
        self.release = self.release or self.stage.release("v2", boot=BOOT)
        self.stage.deploy("v1")
        self.load = self.stage.load()
        self.journal = UnitJournal(self.stage.machine, APP)

    def roll_out(self, fault: Fault, verb: str = "rollout") -> Ended:
        """Begin a rollout, inject the fault, and wait for the end."""
        begun = self.stage.begin(verb, *(["--release", self.release] if verb == "rollout" else []))
        fault(self.stage, begun)
        return begun.end()

    def check_unharmed(self) -> None:
        """Check that no request has failed so far."""
        record = self.load.stop()
        assert len(record) > 0
        assert not record.failed, record.summary()

    def check_succeeded(self, ended: Ended) -> None:
        """Check that the rollout succeeded despite the fault, and each instance was started and stopped once."""
        assert (ended.status, ended.result) == (0, "succeeded"), ended
        status = self.stage.status()
        assert status["generation"] == ended.generation
        assert status["rollout"] is None
        assert [item["generation"] for item in status["instances"]] == [ended.generation] * INSTANCES
        assert status["ready"] == INSTANCES
        assert self.counts() == {What.STARTING: INSTANCES, What.STOPPING: INSTANCES}
        newest = self.stage.history()[0]
        assert (newest["generation"], newest["result"]) == (ended.generation, "succeeded")
        assert sorted(newest["replaced"]) == [1, 2, 3, 4]
        self.check_unharmed()

    def counts(self) -> dict[What, int]:
        """Count the instances that were started and stopped since the beginning."""
        seen = [change.what for change in self.journal.changes()]
        return {what: seen.count(what) for what in (What.STARTING, What.STOPPING)}

    def check_as_before(self) -> None:
        """Check that generation 1 serves with the same number of instances, and no rollout is in progress."""
        status = self.stage.status()
        assert status["rollout"] is None
        assert status["generation"] == 1
        assert [item["generation"] for item in status["instances"] if item["ready"]] == [1] * INSTANCES, status


def kill_daemon(stage: Stage) -> None:
    """Kill the daemon, like the OOM killer."""
    stage.machine.run(["systemctl", "kill", "--signal=KILL", "deployd.service"])


def daemon_pid(stage: Stage) -> int:
    return int(stage.show("deployd.service", "MainPID")["MainPID"])
