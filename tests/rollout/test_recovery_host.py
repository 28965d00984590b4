"""A deployment cancelled half-way leaves healthy instances of an old release, and a bad release follows: the rollback
keeps the healthy instances by adoption, and stops the newest bad ones first."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.host.faults import kill_daemon
from tests.host.stage import APP, Begun, Ended, Ran, Stage
from tests.host.unit_journal import What, capacity
from tests.load.client import Load

POOL = 6
EXEC = ["/bin/sh", "start.sh"]
START = 'test "$DEPLOYD_INSTANCE" = "$(cat "$DEPLOYD_RELEASE.fails")" && exit 3; exec /usr/bin/python3 app.py'
"""The number of the instance that fails its gate is in a file outside the release, which stays the same release."""


@dataclass(slots=True)
class Scene:
    """`demo` under load, paused during the rollout of a bad generation 3.

    Instances 1, 2 and 3 are the healthy rest of generation 1. Generation 2, whose instance 4 failed and whose rollback
    failed, too, reached 7, 6 and 5. Generation 3 has replaced 5 and 6 when its own 6 fails.
    """

    stage: Stage
    load: Load = field(init=False)
    healthy: dict[int, Ran] = field(init=False)
    world: dict[int, Ran] = field(init=False)
    bad: Begun = field(init=False)
    """The rollout of generation 3, under way."""

    def __post_init__(self) -> None:
        # A failed gate pauses, so that the test can check the state before the rollback. A rollback that started all
        # instances at the same time would leave others than those that the test wants.
        v1 = self.release("v1")
        pace = {"on_failure": "pause", "rollback_surge": 0}
        settings = {"instances": POOL, "exec": EXEC, "gate": {"timeout": "20s"}, "rollout": pace}
        self.stage.configure(release=v1, **settings)
        assert self.stage.change("apply").result == "succeeded"
        # In a first deployment systemd starts them in any order, and what started last is replaced first.
        for number in range(1, POOL + 1):
            self.stage.machine.run(["systemctl", "restart", f"{APP}@{number}.service"])
        first = self.stage.invocations()
        self.load = self.stage.load()
        with self.begin("v2", fails_in=4) as begun:
            begun.until("paused")
            self.let_fail(v1, 4)
            assert self.stage.deployd("abort", APP).returncode == 0
            begun.until("paused", pause="stranded")
        self.stage.machine.run(["systemctl", "stop", f"{APP}@4.service"])
        self.let_fail(v1, 0)
        assert self.generations() == {1: 1, 2: 1, 3: 1, 5: 2, 6: 2, 7: 2}
        self.bad = self.begin("v3", 6, "--supersede")
        self.bad.until("paused")
        self.bad.until("instance", state="stopped", instance=6)
        self.world = self.stage.invocations()
        assert self.generations() == {1: 1, 2: 1, 3: 1, 4: 3, 5: 3, 7: 2}
        self.healthy = {number: first[number] for number in (1, 2, 3)}
        assert self.healthy.items() <= self.world.items()
        self.stage.journal.restart()

    def release(self, version: str, fails_in: int = 0) -> str:
        release = self.stage.release(version, files={"start.sh": START})
        self.let_fail(release, fails_in)
        return release

    def let_fail(self, release: str, number: int) -> None:
        """Have the instance of this number fail from now on."""
        self.stage.machine.write(f"{release}.fails", f"{number}\n")

    def begin(self, version: str, fails_in: int, *argv: str) -> Begun:
        return self.stage.begin("rollout", "--release", self.release(version, fails_in), *argv)

    def generations(self) -> dict[int, int]:
        return {number: ran.generation for number, ran in self.stage.invocations().items()}

    def check(self, generation: int) -> None:
        """Check that the rollback to `generation` stopped no healthy instance, and that no request failed."""
        changes = self.stage.journal.changes()
        record = self.load.stop()
        assert len(record) > 0
        assert not record.failed, record.summary()
        after = self.stage.invocations()
        assert {ran.generation for ran in after.values()} == {generation}
        assert len(after) == POOL
        for number, ran in self.healthy.items():
            assert (after[number].pid, after[number].invocation) == (ran.pid, ran.invocation)
        stopped = [change.instance for change in changes if change.what is What.STOPPING]
        assert [number for number in stopped if number in self.world] == [5, 4, 7], "the newest bad ones first"
        starts = [change.instance for change in changes if change.what is What.STARTING]
        assert len(starts) == POOL - len(self.healthy)
        assert not {*starts} & self.healthy.keys()
        assert min(capacity(changes, self.world)) == POOL


@pytest.mark.sampled
@pytest.mark.parametrize("killed", [False, True], ids=["", "daemon-killed"])
def test_an_abort_keeps_healthy_instances_and_stops_the_newest_bad_ones_first(stage: Stage, killed: bool) -> None:
    scene = Scene(stage)
    assert stage.deployd("abort", APP).returncode == 0
    if killed:
        scene.bad.until("instance", state="starting", generation=1)
        kill_daemon(stage)
    ended = scene.bad.end()
    assert (ended.status, ended.result) == (1, "aborted"), ended
    scene.check(1)
    before = stage.invocations()
    assert_adopts(stage.change("rollback", "--to", "1"), stage, before)


@pytest.mark.thorough
def test_a_requested_rollback_adopts_healthy_instances(stage: Stage) -> None:
    """It supersedes the bad rollout."""
    scene = Scene(stage)
    ended = stage.change("rollback", "--to", "1", "--supersede")
    assert scene.bad.end().result == "superseded"
    assert (ended.status, ended.result, ended.generation) == (0, "succeeded", 4), ended
    assert sorted(ended.finished["adopted"]) == sorted(scene.healthy)
    assert ended.finished["replaced"] == [5, 4, 7]
    scene.check(4)
    assert [row["result"] for row in stage.history()] == ["succeeded", "superseded", "superseded", "succeeded"]


def assert_adopts(ended: Ended, stage: Stage, before: dict[int, Ran]) -> None:
    """Check that a rollback to a release that already runs affects no process."""
    assert (ended.status, ended.result) == (0, "succeeded"), ended
    assert sorted(ended.finished["adopted"]) == sorted(before)
    assert ended.finished["replaced"] == []
    after = stage.invocations()
    assert {ran.generation for ran in after.values()} == {ended.generation}
    assert {(n, ran.invocation) for n, ran in after.items()} == {(n, ran.invocation) for n, ran in before.items()}
