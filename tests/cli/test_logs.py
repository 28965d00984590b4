"""deployd logs: entries of journalctl with the generations that the daemon knows."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.cli.fake_daemon import FakeDaemon
from tests.cli.process import deployd, with_daemon

STARTED = "39f53479d3a045ac8e11786248231fbf"


def entry(instance: int, invocation: str, message: str) -> dict[str, Any]:
    return {"_SYSTEMD_UNIT": f"demo@{instance}.service", "_SYSTEMD_INVOCATION_ID": invocation, "MESSAGE": message}


ENTRIES = [
    entry(1, "a" * 32, "one"),
    entry(2, "c" * 32, "of a generation that was removed") | {"__REALTIME_TIMESTAMP": "1"},
    {"_PID": "1", "UNIT": "demo@1.service", "MESSAGE_ID": STARTED, "MESSAGE": "Started demo@1.service."},
    entry(1, "b" * 32, "two"),
]


def journalctl(directory: Path, entries: list[dict[str, Any]], status: int = 0) -> str:
    """Make a journalctl that prints the entries, in reverse order with --reverse; return the PATH for it."""
    program, texts = directory / "bin" / "journalctl", [json.dumps(item) for item in entries]
    program.parent.mkdir(exist_ok=True)
    for name, lines in (("entries", texts), ("reversed", texts[::-1])):
        (directory / name).write_text("".join(f"{line}\n" for line in lines))
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >{directory}/arguments\n'
        f'case " $* " in *" --reverse "*) cat {directory}/reversed ;; *) cat {directory}/entries ;; esac\n'
        f"exit {status}\n"
    )
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


def test_lines_have_the_generation_as_far_as_the_daemon_knows_it(address: str, tmp_path: Path) -> None:
    async def work(daemon: FakeDaemon) -> None:
        daemon.answers["demo", "LogMatches"] = ["DEPLOYD_APP=demo"]
        daemon.answers["demo", "GenerationsOf"] = {"app": "demo", "generations": {"a" * 32: 7, "b" * 32: 8}}
        path = journalctl(tmp_path, ENTRIES)
        done = await deployd(address, "logs", "demo", "--since", "-1h", PATH=path)
        shown = [line.partition(" demo")[2] for line in done.out.splitlines()]
        assert shown == ["@1 gen 7 | one", "@2 | of a generation that was removed", "@1 gen 8 | two"], done
        assert ("demo", "GenerationsOf", [["a" * 32, "b" * 32, "c" * 32]]) in daemon.calls
        arguments = (tmp_path / "arguments").read_text().splitlines()
        assert arguments[:2] == ["--output=json", "--all"]
        assert arguments[3:] == ["--since=-1h", "DEPLOYD_APP=demo"]
        newest = await deployd(address, "logs", "demo", "-n", "2", PATH=path)
        assert newest.out.splitlines() == done.out.splitlines()[1:]
        followed = await deployd(address, "logs", "demo", "-f", "-n", "2", PATH=path)
        assert followed.out == done.out
        assert {"--follow", "--lines=2"} <= set((tmp_path / "arguments").read_text().splitlines())

    with_daemon(address, work)


def test_without_entries_a_message_says_so_and_a_failure_of_journalctl_is_one(address: str, tmp_path: Path) -> None:
    async def work(daemon: FakeDaemon) -> None:
        daemon.answers["demo", "LogMatches"] = ["DEPLOYD_APP=demo"]
        done = await deployd(address, "logs", "demo", PATH=journalctl(tmp_path, []))
        assert done == (0, "", "demo: the journal has no such entries that you may read\n")
        done = await deployd(address, "logs", "demo", PATH=journalctl(tmp_path, [], 1))
        assert done == (1, "", "")

    with_daemon(address, work)


def test_lines_are_shown_while_the_daemon_does_not_answer(address: str, tmp_path: Path) -> None:
    async def work(daemon: FakeDaemon) -> None:
        daemon.answers["demo", "LogMatches"] = ["DEPLOYD_APP=demo"]
        daemon.answers["demo", "GenerationsOf"] = OSError("gone")
        done = await deployd(address, "logs", "demo", PATH=journalctl(tmp_path, ENTRIES[:1]))
        assert (done.status, done.out.partition(" demo")[2]) == (0, "@1 | one\n"), done

    with_daemon(address, work)
