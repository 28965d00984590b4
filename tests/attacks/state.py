"""Damage of the history while the daemon is stopped: apps keep serving, and a repair restores the history."""

from __future__ import annotations

from collections.abc import Callable

from tests.attacks.broken_history import CHANGES, DAEMON, Broken, python, sql, survives
from tests.host.stage import DEADLINE, Stage


def deleted(stage: Stage) -> None:
    """history.sqlite is deleted."""
    python(stage, "os.remove(H)")


def emptied(stage: Stage) -> None:
    """history.sqlite has 0 bytes."""
    python(stage, "os.truncate(H, 0)")


def truncated(stage: Stage) -> None:
    """The second half of history.sqlite is missing."""
    python(stage, "os.truncate(H, os.path.getsize(H) // 8192 * 4096)")


def overwritten(stage: Stage) -> None:
    """history.sqlite has other contents."""
    python(stage, "open(H, 'wb').write(os.urandom(100000))")


def torn(stage: Stage) -> None:
    """Pages in the middle of history.sqlite have other contents."""
    lines = ("f = open(H, 'r+b')", "f.seek(4096)", "f.write(os.urandom(os.path.getsize(H) - 8192))", "f.close()")
    python(stage, *lines)


def newer(stage: Stage) -> None:
    """history.sqlite was written by a newer deployd, which was then downgraded."""
    sql(stage, "PRAGMA user_version = 99")


def another_database(stage: Stage) -> None:
    """history.sqlite is the database of another program, with tables of the same names."""
    python(
        stage,
        "os.remove(H)",
        "sqlite3.connect(H).executescript('CREATE TABLE generations (a); CREATE TABLE apps (name, current)')",
    )


def a_directory(stage: Stage) -> None:
    """history.sqlite is a directory that is not empty."""
    python(stage, "os.remove(H)", "os.makedirs(H + '/x')")


def a_fifo(stage: Stage) -> None:
    """history.sqlite is a FIFO without a writer."""
    python(stage, "os.remove(H)", "os.mkfifo(H)")


def a_fifo_as_log(stage: Stage) -> None:
    """history.sqlite-wal is a FIFO without a writer."""
    python(stage, "os.mkfifo(H + '-wal')")


def log_of_another_database(stage: Stage) -> None:
    """history.sqlite-wal is the complete log of another database."""
    lines = (
        "db = sqlite3.connect('/tmp/other', isolation_level=None)",
        "db.execute('PRAGMA journal_mode=WAL')",
        "db.execute('CREATE TABLE words (word)')",
        "db.executemany('INSERT INTO words VALUES (?)', [('word' * 500,)] * 100)",
        "shutil.copy('/tmp/other-wal', H + '-wal')",
    )
    python(stage, *lines)


def rows_of_a_newer_version(stage: Stage) -> None:
    """The rows of demo have unknown results, causes and settings."""
    sql(stage, "UPDATE generations SET result = 'quantum', cause = 'whim', settings = '{}' WHERE app = 'demo'")


def nulls(stage: Stage) -> None:
    """The rows of demo have NULL in mandatory columns."""
    sql(
        stage,
        "CREATE TABLE other AS SELECT * FROM generations",
        "DROP TABLE generations",
        "ALTER TABLE other RENAME TO generations",
        "UPDATE generations SET settings = NULL, result = NULL, started = NULL",
    )


def rows_deleted(stage: Stage) -> None:
    """All rows of demo are deleted while it serves."""
    tables = {"apps": "name", "generations": "app", "invocations": "app"}
    statements = [f"DELETE FROM {table} WHERE {column} = 'demo'" for table, column in tables.items()]
    sql(stage, *statements)


DAMAGES: tuple[Callable[[Stage], None], ...] = (
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
)


FEW = deleted, overwritten, another_database, a_fifo_as_log, nulls
"""One of each sort: `make test` has these on a host, and all of them on a database without a daemon."""


def damaged_in_few_ways(stage: Stage) -> str:
    """history.sqlite is lost, foreign, a special file or has damaged rows, and is repaired after each."""
    return survives(stage, *FEW)


def damaged(stage: Stage) -> str:
    """history.sqlite is damaged in many ways, one after another, and repaired after each."""
    return survives(stage, *DAMAGES)


def records_lost_too(stage: Stage) -> str:
    """history.sqlite and the record of the current generation are lost, but not the pins and the app file."""
    broken = Broken(
        stage,
        lambda stage: python(
            stage, "os.remove(H)", "os.truncate('/var/lib/deployd/apps/demo/generations/2/generation.json', 0)"
        ),
    )
    wrong = broken.reported() or broken.refused() or broken.repair()
    if wrong:
        return wrong
    status = stage.status()
    if (status["generation"], status["release"], status["history_error"]) != (2, broken.status["release"], None):
        return f"status shows something else: {status}"
    return broken.usable()


def put_back(stage: Stage) -> str:
    """history.sqlite is moved away and put back while the daemon runs without it."""

    def back(broken: Broken) -> str:
        python(stage, "os.rename('/var/tmp/history', H)")
        stage.machine.run(["systemctl", "reload", DAEMON])
        stage.machine.wait_for(lambda: stage.status()["history_error"] is None, DEADLINE, "the history that is back")
        return broken.untouched("was changed when the history was restored")

    return Broken(stage, lambda stage: python(stage, "os.rename(H, '/var/tmp/history')")).wrong(back, CHANGES)


ATTACKS: tuple[Callable[[Stage], str], ...] = (damaged, records_lost_too, put_back)
