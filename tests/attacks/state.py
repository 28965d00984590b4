"""What can become of the history: it is lost, damaged, somebody else's or locked, while apps serve and rollouts go on.

Nobody attacks here but bad luck and an administrator's hand: the history is root's. Each function breaks it for real,
has the daemon start again, and follows the way out that the sentence names, under load.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Sequence

from tests.host.begun import Json
from tests.host.neighbour import Neighbour
from tests.host.stage import APP, DEADLINE, Ran, Stage
from tests.host.steered import asked

HISTORY = "/var/lib/deployd/history.sqlite"
DAEMON = "deployd.service"
CHANGES = (
    ("rollout", APP), ("apply", APP), ("rollback", APP), ("restart", APP), ("scale", APP, "3"), ("pause", APP),
    ("resume", APP), ("abort", APP), ("remove", APP),
)  # fmt: skip
FEW = CHANGES[0], CHANGES[-1]

Damage = Callable[[Stage], object]


def python(stage: Stage, *lines: str) -> None:
    """Run a script as root in the host; H is the path of the history."""
    text = "\n".join(("import os, shutil, sqlite3, stat", f"H = {HISTORY!r}", *lines))
    stage.machine.run([stage.machine.python, "-c", text])


def sql(stage: Stage, *statements: str) -> None:
    python(stage, "db = sqlite3.connect(H, isolation_level=None)", *(f"db.execute({text!r})" for text in statements))


@contextlib.contextmanager
def lock(stage: Stage, kind: str = "IMMEDIATE") -> Iterator[None]:
    """The history, by another process of root."""
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
    """`demo` at generation 2 serves under load, and the history was broken while the daemon was down."""

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
        stage.machine.run(["systemctl", "stop", DAEMON])
        damage(stage)
        stage.machine.run(["systemctl", "start", DAEMON])

    def wrong(self, way_out: Callable[[Broken], str], changes: Sequence[Sequence[str]] = FEW) -> str:
        return self.told() or self.refused(changes) or way_out(self) or self.as_before() or self.goes_on()

    def told(self) -> str:
        """`status` tells what runs, and what is wrong in one sentence."""
        done = self.stage.deployd("status", APP)
        if done.returncode or "generation 2, 4 of 4 ready" not in done.stdout:
            return f"status does not tell what runs: {done.stdout}{done.stderr}"
        error = str(self.stage.status()["history_error"] or "")
        if HISTORY not in error or "\n" in error or "deployd repair" not in error:
            return f"no sentence that names the way out: {error!r}"
        if error not in " ".join(done.stdout.split()):
            return f"status is silent about it: {done.stdout}"
        if "history.sqlite" not in self.stage.machine.run(["systemctl", "status", DAEMON]).stdout:
            return "systemctl status deployd is silent about it"
        return ""

    def refused(self, changes: Sequence[Sequence[str]] = FEW) -> str:
        """What changes something is refused with that sentence."""
        error = self.stage.status()["history_error"]
        for argv in changes:
            done = self.stage.deployd(*argv)
            if done.returncode != 1 or done.stderr.strip() != f"deployd: {error}":
                return f"{' '.join(argv)} was answered with {done.returncode}: {done.stderr}"
        return self.untouched("was touched by a refused request")

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
        return self.untouched("was touched by the repair")

    def as_before(self) -> str:
        """What is told is what was told before it broke, and nothing has to be replaced for it."""
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
            return f"an unchanged apply did something: {done}"
        return self.untouched("was replaced by an unchanged apply")

    def goes_on(self) -> str:
        """A rollout and a rollback follow, with new numbers and without a lost request; over a restart, too."""
        self.stage.machine.run(["systemctl", "restart", DAEMON])
        ended = self.stage.rollout(self.next)
        if (ended.result, ended.generation) != ("succeeded", 3):
            return f"the next rollout: {ended}"
        back = self.stage.change("rollback")
        if back.result != "succeeded" or self.stage.status()["release"] != self.status["release"]:
            return f"the next rollback: {back}"
        record = self.load.stop()
        return f"requests were lost: {record.summary()}" if record.failed or not len(record) else ""


def _survives(stage: Stage, damage: Damage) -> str:
    return Broken(stage, damage).wrong(Broken.repair)


def deleted(stage: Stage) -> str:
    """history.sqlite is deleted."""
    return Broken(stage, lambda stage: python(stage, "os.remove(H)")).wrong(Broken.repair, CHANGES)


def emptied(stage: Stage) -> str:
    """history.sqlite has 0 bytes."""
    return _survives(stage, lambda stage: python(stage, "os.truncate(H, 0)"))


def truncated(stage: Stage) -> str:
    """The second half of history.sqlite is missing."""
    return _survives(stage, lambda stage: python(stage, "os.truncate(H, os.path.getsize(H) // 8192 * 4096)"))


def overwritten(stage: Stage) -> str:
    """history.sqlite holds something else."""
    return _survives(stage, lambda stage: python(stage, "open(H, 'wb').write(os.urandom(100000))"))


def torn(stage: Stage) -> str:
    """Pages in the middle of history.sqlite hold something else."""
    lines = ("f = open(H, 'r+b')", "f.seek(4096)", "f.write(os.urandom(os.path.getsize(H) - 8192))", "f.close()")
    return _survives(stage, lambda stage: python(stage, *lines))


def newer(stage: Stage) -> str:
    """A newer deployd has written history.sqlite, and was taken back."""
    return _survives(stage, lambda stage: sql(stage, "PRAGMA user_version = 99"))


def another_database(stage: Stage) -> str:
    """history.sqlite is another program's database, with tables of the same names."""
    return _survives(
        stage,
        lambda stage: python(
            stage,
            "os.remove(H)",
            "sqlite3.connect(H).executescript('CREATE TABLE generations (a); CREATE TABLE apps (name, current)')",
        ),
    )


def a_directory(stage: Stage) -> str:
    """history.sqlite is a directory that is not empty."""
    return _survives(stage, lambda stage: python(stage, "os.remove(H)", "os.makedirs(H + '/x')"))


def a_fifo(stage: Stage) -> str:
    """history.sqlite is a FIFO that nobody writes to."""
    return _survives(stage, lambda stage: python(stage, "os.remove(H)", "os.mkfifo(H)"))


def a_fifo_as_log(stage: Stage) -> str:
    """history.sqlite-wal is a FIFO that nobody writes to."""
    return _survives(stage, lambda stage: python(stage, "os.mkfifo(H + '-wal')"))


def log_of_another_database(stage: Stage) -> str:
    """history.sqlite-wal is the log of another database, whole and committed."""
    lines = (
        "db = sqlite3.connect('/tmp/other', isolation_level=None)",
        "db.execute('PRAGMA journal_mode=WAL')",
        "db.execute('CREATE TABLE words (word)')",
        "db.executemany('INSERT INTO words VALUES (?)', [('word' * 500,)] * 100)",
        "shutil.copy('/tmp/other-wal', H + '-wal')",
    )
    return _survives(stage, lambda stage: python(stage, *lines))


def rows_of_a_newer_version(stage: Stage) -> str:
    """The rows of demo have results, causes and settings that nobody knows."""
    return _survives(
        stage,
        lambda stage: sql(
            stage, "UPDATE generations SET result = 'quantum', cause = 'whim', settings = '{}' WHERE app = 'demo'"
        ),
    )


def nulls(stage: Stage) -> str:
    """The rows of demo have NULL where there must be something."""
    return _survives(
        stage,
        lambda stage: sql(
            stage,
            "CREATE TABLE other AS SELECT * FROM generations",
            "DROP TABLE generations",
            "ALTER TABLE other RENAME TO generations",
            "UPDATE generations SET settings = NULL, result = NULL, started = NULL",
        ),
    )


def rows_deleted(stage: Stage) -> str:
    """All rows of demo are deleted while it serves."""
    tables = {"apps": "name", "generations": "app", "invocations": "app"}
    statements = [f"DELETE FROM {table} WHERE {column} = 'demo'" for table, column in tables.items()]
    return _survives(stage, lambda stage: sql(stage, *statements))


def records_lost_too(stage: Stage) -> str:
    """history.sqlite and the record of what runs are gone: what is left are pins and the app file."""
    broken = Broken(
        stage,
        lambda stage: python(
            stage, "os.remove(H)", "os.truncate('/var/lib/deployd/apps/demo/generations/2/generation.json', 0)"
        ),
    )
    wrong = broken.told() or broken.refused() or broken.repair()
    if wrong:
        return wrong
    status = stage.status()
    if (status["generation"], status["release"], status["history_error"]) != (2, broken.status["release"], None):
        return f"status tells something else: {status}"
    return broken.goes_on()


def all_state_lost(stage: Stage) -> str:
    """All of /var/lib/deployd is deleted while the app serves; then a bad release is applied, and a good one."""
    stage.deploy("v1")
    load = stage.load()
    before = {number: (item.pid, item.invocation) for number, item in stage.invocations().items()}
    stage.machine.run(["systemctl", "stop", DAEMON])
    stage.machine.run(["find", "/var/lib/deployd", "-mindepth", "1", "-delete"])
    stage.machine.run(["systemctl", "start", DAEMON])
    shown = {item["instance"]: (item["main_pid"], item["invocation_id"]) for item in stage.status()["instances"]}
    if shown.keys() != before.keys() or "unknown generation, 4 of" not in stage.deployd("status", APP).stdout:
        return f"status does not tell what runs: {stage.status()}"
    stage.configure(release=stage.release("bad", "crash"))
    with stage.begin("apply") as begun:
        begun.until("paused")
    if stage.status()["ready"] < 4:
        return "what runs was stopped for a release that failed"
    stage.configure(release=stage.release("v2"))
    ended = stage.change("apply", "--supersede")
    status = stage.status()
    if ended.result != "succeeded" or {item["generation"] for item in status["instances"]} != {2}:
        return f"it could not be deployed anew: {ended}"
    record = load.stop()
    return f"requests were lost: {record.summary()}" if record.failed else ""


def generations_lost(stage: Stage) -> str:
    """Generations and pins are deleted while the app serves; the history is there."""
    stage.deploy("v1")
    load = stage.load()
    stage.machine.run(["systemctl", "stop", DAEMON])
    stage.machine.run(["find", "/var/lib/deployd/apps", "-mindepth", "1", "-delete"])
    stage.machine.run(["systemctl", "start", DAEMON])
    if (status := stage.status())["ready"] != 4 or status["generation"] != 1:
        return f"status does not tell what runs: {status}"
    ended = stage.change("apply")
    pins = {path.name for path in stage.machine.path("/var/lib/deployd/apps/demo/pins").iterdir()}
    if ended.result != "succeeded" or len(pins) != 4:
        return f"an apply of the same did not bring the pins back: {ended}"
    record = load.stop()
    return f"requests were lost: {record.summary()}" if record.failed else ""


def put_back(stage: Stage) -> str:
    """history.sqlite is moved away and put back while the daemon runs without it."""

    def back(broken: Broken) -> str:
        python(stage, "os.rename('/var/tmp/history', H)")
        stage.machine.run(["systemctl", "reload", DAEMON])
        stage.machine.wait_for(lambda: stage.status()["history_error"] is None, DEADLINE, "the history that is back")
        return broken.untouched("was touched when the history came back")

    return Broken(stage, lambda stage: python(stage, "os.rename(H, '/var/tmp/history')")).wrong(back)


def deleted_in_mid_rollout(stage: Stage) -> str:
    """history.sqlite is deleted while the daemon runs and a rollout is under way."""
    stage.deploy("v1")
    load = stage.load()
    with stage.begin("rollout", "--release", stage.release("v2", boot=0.3)) as begun:
        begun.until("instance", state="stopped")
        python(stage, "os.remove(H)")
        begun.until("paused")
    before = stage.invocations()
    if not (error := stage.status()["history_error"]) or "is missing" not in error:
        done = stage.deployd("resume", APP)
        error = stage.status()["history_error"]
        if done.returncode != 1 or not error:
            return f"the rollout went on with a history that is gone: {done}"
    stage.machine.run(["systemctl", "restart", DAEMON])
    stage.json("repair")
    rollout = stage.status()["rollout"]
    if rollout is None or (rollout["phase"], rollout["from"], rollout["to"]) != ("paused", 1, 2):
        return f"the rollout that was under way is told as {rollout}"
    if stage.invocations() != before:
        return "an instance was touched by the repair"
    ended = stage.change("resume", "--wait")
    if ended.result != "succeeded" or stage.status()["generation"] != 2:
        return f"it could not be resumed: {ended}"
    record = load.stop()
    return f"requests were lost: {record.summary()}" if record.failed else ""


def deleted_while_a_canary_is_held(stage: Stage) -> str:
    """history.sqlite is deleted while a canary of a steered app is held at 5 % of new connections."""
    stage.deploy("v1", routing="steered")
    load = stage.load()
    with stage.begin("rollout", "--release", stage.release("v2"), "--canary", "5%") as begun:
        begun.until("paused")
    if asked(stage)[2] != 5:
        return f"the canary is not at its share before: {asked(stage)}"
    before = stage.invocations()
    stage.machine.run(["systemctl", "stop", DAEMON])
    python(stage, "os.remove(H)")
    stage.machine.run(["systemctl", "start", DAEMON])
    for step in ("start", "repair"):
        if step == "repair":
            stage.json("repair")
        if asked(stage)[2] != 5 or stage.status()["rollout"]["phase"] != "paused":
            return f"after the {step} the canary has {asked(stage)}"
    if stage.invocations() != before:
        return "an instance was touched by the repair"
    with stage.begin("resume", "--wait") as resumed:
        resumed.until("paused")
    if asked(stage)[2] != 5:
        return f"resumed, the canary has {asked(stage)}"
    ended = stage.change("resume", "--wait")
    if ended.result != "succeeded":
        return f"it could not be resumed: {ended}"
    record = load.stop()
    return f"requests were lost: {record.summary()}" if record.failed else ""


def one_apps_rows(stage: Stage) -> str:
    """The rows of one app are damaged, while another rolls out."""
    neighbour = Neighbour(stage, "other", 9000)
    neighbour.deploy()
    stage.deploy("v1")
    stage.machine.run(["systemctl", "stop", DAEMON])
    sql(stage, "UPDATE generations SET settings = '{broken' WHERE app = 'other'")
    stage.machine.run(["systemctl", "start", DAEMON])
    if stage.status()["history_error"] is not None or neighbour.status()["history_error"] is None:
        return "the wrong one has the trouble"
    with stage.begin("rollout", "--release", stage.release("v2", boot=0.3)) as begun:
        begun.until("instance", state="stopped")
        stage.json("repair")
        ended = begun.end()
    if ended.result != "succeeded":
        return f"the rollout beside it: {ended}"
    done = stage.deployd("restart", "other")
    return "" if done.returncode == 0 else f"after the repair: {done}"


def locked(stage: Stage) -> str:
    """Another process keeps history.sqlite locked for seconds while a rollout is under way."""
    stage.deploy("v1")
    load = stage.load()
    with stage.begin("rollout", "--release", stage.release("v2", boot=0.3)) as begun:
        begun.until("instance", state="starting")
        with lock(stage):
            done = stage.deployd("scale", APP, "3", "--supersede")
            if done.returncode != 1 or "is locked by another process" not in done.stderr:
                return f"a request got {done}"
            if stage.status()["ready"] < 4:
                return "an instance was lost"
        ended = begun.end()
    if ended.result != "succeeded":
        return f"the rollout ended otherwise: {ended}"
    record = load.stop()
    return f"requests were lost: {record.summary()}" if record.failed else ""


def locked_at_the_start(stage: Stage) -> str:
    """Another process has history.sqlite for itself when the daemon starts in mid-rollout, and leaves it later."""
    stage.deploy("v1")
    load = stage.load()
    with stage.begin("rollout", "--release", stage.release("v2", boot=0.3)) as begun:
        begun.until("instance", state="stopped")
        stage.machine.run(["systemctl", "stop", DAEMON])
        with lock(stage, "EXCLUSIVE"):
            stage.machine.run(["systemctl", "start", DAEMON])
            status = stage.status()
            if "is locked by another process" not in str(status["history_error"]) or status["ready"] < 4:
                return f"status tells {status}"
            done = stage.deployd("repair")
            if done.returncode != 1 or "is locked by another process" not in done.stderr:
                return f"what somebody else has was repaired: {done}"
        ended = begun.end()
    if ended.result != "succeeded":
        return f"the rollout was not taken up again: {ended}"
    record = load.stop()
    return f"requests were lost: {record.summary()}" if record.failed else ""


ATTACKS: tuple[Callable[[Stage], str], ...] = (
    deleted,
    emptied,
    truncated,
    overwritten,
    torn,
    newer,
    another_database,
    a_directory,
    a_fifo,
    a_fifo_as_log,
    log_of_another_database,
    rows_of_a_newer_version,
    nulls,
    rows_deleted,
    records_lost_too,
    all_state_lost,
    generations_lost,
    put_back,
    deleted_in_mid_rollout,
    deleted_while_a_canary_is_held,
    one_apps_rows,
    locked,
    locked_at_the_start,
)
