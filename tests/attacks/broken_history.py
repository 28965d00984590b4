"""The history of a host, damaged while the daemon was stopped, and what must still work.

The history belongs to root, so this is about accidents rather than attackers. Each damage is made on a real host, under
load; then the daemon is started, and the history repaired as its error message says.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Sequence

from tests.host.begun import Json
from tests.host.stage import APP, Ran, Stage

HISTORY = "/var/lib/deployd/history.sqlite"
DAEMON = "deployd.service"
CHANGES = (
    ("rollout", APP), ("apply", APP), ("rollback", APP), ("restart", APP), ("scale", APP, "3"), ("pause", APP),
    ("resume", APP), ("abort", APP), ("remove", APP),
)  # fmt: skip
FEW = CHANGES[0], CHANGES[-1]

Damage = Callable[[Stage], object]


def python(stage: Stage, *lines: str) -> None:
    """Run a script as root on the host; H is the path of the history."""
    text = "\n".join(("import os, shutil, sqlite3, stat", f"H = {HISTORY!r}", *lines))
    stage.machine.run([stage.machine.python, "-c", text])


def sql(stage: Stage, *statements: str) -> None:
    python(stage, "db = sqlite3.connect(H, isolation_level=None)", *(f"db.execute({text!r})" for text in statements))


@contextlib.contextmanager
def lock(stage: Stage, kind: str = "IMMEDIATE") -> Iterator[None]:
    """Lock the history in another process of root."""
    script = (
        f"import sqlite3, sys; db = sqlite3.connect({HISTORY!r}, isolation_level=None);"
        f" db.execute('PRAGMA locking_mode = {'EXCLUSIVE' if kind == 'EXCLUSIVE' else 'NORMAL'}');"
        f" db.execute('BEGIN {kind}'); print('locked', flush=True); sys.stdin.read()"
    )
    argv = [stage.machine.python, "-c", script]
    with stage.machine.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield
        process.stdin.close()


class Broken:
    """`demo` serves generation 2 under load, and the history was damaged while the daemon was stopped."""

    def __init__(self, stage: Stage, damage: Damage) -> None:
        self.stage = stage
        stage.deploy("v1")
        stage.configure(release=stage.release("v2"))
        assert stage.rollout().result == "succeeded"
        self.next = stage.release("v3", boot=0.1)
        self.load = stage.load()
        self.before: dict[int, Ran] = stage.invocations()
        self.status: Json = stage.status()
        self.past = stage.history()
        self.damage(damage)

    def damage(self, damage: Damage) -> None:
        self.stage.machine.run(["systemctl", "stop", DAEMON])
        damage(self.stage)
        self.stage.machine.run(["systemctl", "start", DAEMON])

    def wrong(self, remedy: Callable[[Broken], str], changes: Sequence[Sequence[str]] = FEW) -> str:
        """Return what is wrong before, during or after `remedy`."""
        return self.mended(remedy, changes) or self.usable()

    def mended(self, remedy: Callable[[Broken], str], changes: Sequence[Sequence[str]] = FEW) -> str:
        """Return what is wrong before, during or after `remedy`, apart from later rollouts."""
        return self.reported() or self.refused(changes) or remedy(self) or self.as_before()

    def reported(self) -> str:
        """Check that `status` shows the running instances, and the damage in one sentence."""
        done = self.stage.deployd("status", APP)
        if done.returncode or "generation 2, 4 of 4 ready" not in done.stdout:
            return f"status does not show the running instances: {done.stdout}{done.stderr}"
        error = str(self.stage.status()["history_error"] or "")
        if HISTORY not in error or "\n" in error or "deployd repair" not in error:
            return f"no sentence that names deployd repair: {error!r}"
        if error not in " ".join(done.stdout.split()):
            return f"status does not report it: {done.stdout}"
        if "history.sqlite" not in self.stage.machine.run(["systemctl", "status", DAEMON]).stdout:
            return "systemctl status deployd does not report it"
        return ""

    def refused(self, changes: Sequence[Sequence[str]] = FEW) -> str:
        """Check that changes are refused with that sentence."""
        error = self.stage.status()["history_error"]
        for argv in changes:
            done = self.stage.deployd(*argv)
            if done.returncode != 1 or done.stderr.strip() != f"deployd: {error}":
                return f"{' '.join(argv)} ended with status {done.returncode}: {done.stderr}"
        return self.untouched("was changed by a refused request")

    def untouched(self, why: str) -> str:
        return "" if self.stage.invocations() == self.before else f"an instance {why}"

    def repair(self) -> str:
        there = self.stage.machine.path(HISTORY)
        something = there.is_symlink() or there.exists()
        answer = self.stage.json("repair")
        aside = answer["aside"]
        if something and (aside is None or not self.stage.machine.path(aside).exists()):
            return f"the old history is gone: {answer}"
        again = self.stage.deployd("repair")
        if again.returncode != 3:
            return f"a history in order was repaired: {again}"
        return self.untouched("was changed by the repair")

    def as_before(self) -> str:
        """Check that status and history are as before the damage, and that no instance was replaced."""
        status = self.stage.status()
        for key in ("generation", "release", "desired", "ready", "rollout", "history_error"):
            if status[key] != self.status[key]:
                return f"{key} is {status[key]!r} and was {self.status[key]!r}"
        keys = ("generation", "release", "cause", "result", "replaced", "started")
        now, then = ([[item[key] for key in keys] for item in past] for past in (self.stage.history(), self.past))
        if now != then:
            return f"the history is {now} and was {then}"
        done = self.stage.deployd("apply", APP, "--json")
        if done.returncode or self.stage.status()["generation"] != 2:
            return f"an unchanged apply changed something: {done}"
        return self.untouched("was replaced by an unchanged apply")

    def usable(self) -> str:
        """Check that after a restart a rollout and a rollback get new numbers and lose no request."""
        self.stage.machine.run(["systemctl", "restart", DAEMON])
        ended = self.stage.rollout(self.next)
        if (ended.result, ended.generation) != ("succeeded", 3):
            return f"the next rollout: {ended}"
        back = self.stage.change("rollback")
        if back.result != "succeeded" or self.stage.status()["release"] != self.status["release"]:
            return f"the next rollback: {back}"
        record = self.load.stop()
        return f"requests were lost: {record.summary()}" if record.failed or not len(record) else ""


def survives(stage: Stage, *damages: Damage) -> str:
    """Return what is wrong after each of the damages and its repair, one after another."""
    broken = Broken(stage, damages[0])
    for damage in damages:
        if damage is not damages[0]:
            broken.damage(damage)
        if wrong := broken.mended(Broken.repair):
            return f"{damage.__doc__} {wrong}"
    return broken.usable()
