"""The command and its users: exit statuses, JSON and messages."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from deployd.errors import Busy, InvalidFile, Refused
from tests.cli.fake_daemon import FakeDaemon, environment, generation_row, status
from tests.cli.process import CHECKOUT, deployd, ended, with_daemon


def test_without_a_bus_or_a_daemon_it_exits_with_5_and_one_sentence(address: str, tmp_path: Path) -> None:
    for place in (address, f"unix:path={tmp_path}/nowhere"):
        done = asyncio.run(deployd(place, "status"))
        assert (done.status, done.out) == (5, "")
        assert done.err.startswith("deployd: ")
        assert done.err.count("\n") == 1


def test_without_a_library_it_exits_with_1_and_one_sentence() -> None:
    command = [sys.executable, "-S", "-m", "deployd_cli", "status"]  # -S: without the libraries of .venv
    path = f"{CHECKOUT / 'daemon'}:{CHECKOUT / 'cli'}"
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": path})
    sentence = "deployd: the Python module typer is missing; install deployd again, with its dependencies\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence)


def test_history_is_printed_in_pages(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        page = {"app": "demo", "generations": [generation_row(9), generation_row(8)], "more": True}
        daemon.answers["demo", "History"] = page
        done = await deployd(address, "history", "demo")
        assert done.err == "older generations: deployd history demo --before 8\n"
        done = await deployd(address, "history", "demo", "-n", "1")
        assert (done.out.split()[8], done.err) == ("9", "older generations: deployd history demo --before 9\n")
        done = await deployd(address, "history", "demo", "-n", "1", "--json")
        assert json.loads(done.out) == {**page, "generations": [generation_row(9)]}
        daemon.answers["demo", "HistoryBefore"] = {**page, "generations": [generation_row(7)], "more": False}
        done = await deployd(address, "history", "demo", "--before", "8")
        assert (done.status, done.out.split()[8], done.err) == (0, "7", "")
        assert daemon.calls[-1] == ("demo", "HistoryBefore", [8])
        daemon.answers["demo", "HistoryBefore"] = {"app": "demo", "generations": []}
        assert "no generation before 1" in (await deployd(address, "history", "demo", "--before", "1")).err

    with_daemon(address, work)


def test_an_app_that_does_not_exist_is_compared_with_those_that_do(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        daemon.apps = ["demo", "shop"]
        done = await deployd(address, "status", "shpo")
        assert (done.status, done.err) == (4, "deployd: there is no app named shpo; did you mean shop?\n")
        done = await deployd(address, "history", "xyzzy", "--json")
        assert (done.status, done.err) == (4, "deployd: there is no app named xyzzy\n")
        assert json.loads(done.out) == {
            "event": "error",
            "error": "NoSuchApp",
            "message": "there is no app named xyzzy",
            "exit_status": 4,
            "journal": [],
        }

    with_daemon(address, work)


def test_an_unusable_history_is_reported_and_repaired(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        error = "history.sqlite is missing; deployd repair rebuilds it"
        daemon.answers["demo", "Describe"] = status(history_error=error)
        daemon.answers["", "Describe"] = {"apps": [status(history_error=error)], "version": "1"}
        daemon.answers["demo", "History"] = {"app": "demo", "generations": [], "history_error": error}
        assert f"requests are refused: {error}" in (await deployd(address, "status", "demo")).out
        assert (await deployd(address, "status")).err == f"{error}\n"
        assert (await deployd(address, "history", "demo")).err == f"{error}\n"
        apps = [
            {"app": "demo", "generation": 2, "rollout": 3, "history_error": None},
            {"app": "new", "generation": None, "rollout": None, "history_error": None},
            {"app": "odd", "generation": None, "rollout": None, "history_error": error},
        ]
        answer = {"history": "/h", "aside": "/h.broken", "apps": apps}
        daemon.answers["", "Repair"] = answer
        done = await deployd(address, "repair")
        assert done.err.splitlines() == [
            "/h was rebuilt; the old one is kept as /h.broken",
            "demo: at generation 2, rollout of generation 3 paused; "
            "continue with: deployd resume demo; or roll back with: deployd abort demo",
            "new: no successful generation",
            f"odd: {error}",
        ]
        assert json.loads((await deployd(address, "repair", "--json")).out) == answer

    with_daemon(address, work)


def test_json_is_printed_unchanged(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        answers: dict[tuple[str, ...], tuple[tuple[str, str], Any]] = {
            ("status",): (("", "Describe"), {"apps": [status()], "version": "1", "novel": 1}),
            ("status", "demo"): (("demo", "Describe"), status(novel={"x": [1]})),
            ("history", "demo"): (("demo", "History"), {"app": "demo", "generations": [generation_row(7, novel=1)]}),
            ("releases", "demo"): (
                ("demo", "Releases"),
                {"app": "demo", "releases": [{"release": "/srv/1", "novel": 1}]},
            ),
            ("compare", "demo"): (("demo", "Compare"), {"app": "demo", "generations": [{"generation": 8, "novel": 1}]}),
            ("plan", "demo"): (("demo", "Plan"), {"app": "demo", "actions": [], "floor": 4}),
            ("units", "demo"): (("demo", "Units"), {"app": "demo", "units": []}),
            ("check",): (("", "Check"), {"apps": [{"app": "demo", "valid": True, "error": None}]}),
        }
        for arguments, (place, answer) in answers.items():
            daemon.answers[place] = answer
            done = await deployd(address, *arguments, "--json")
            assert (done.status, json.loads(done.out), done.err) == (0, answer, ""), arguments
            plain = await deployd(address, *arguments)
            assert plain.status == 0
            assert "\x1b" not in plain.out

    with_daemon(address, work)


def test_exit_statuses_are_those_of_the_errors(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        assert (await deployd(address, "status", "nope")).status == 4
        for error in (Busy("another rollout is running"), Refused("no"), InvalidFile("demo.toml: no")):
            daemon.answers["demo", "Rollout"] = error
            done = await deployd(address, "rollout", "demo")
            assert done == (3, "", f"deployd: {error}\n")
        daemon.answers["", "Check"] = {"apps": [{"app": "bad", "valid": False, "error": "bad.toml:3: no"}]}
        assert await deployd(address, "check") == (3, "", "bad: bad.toml:3: no\n")
        assert (await deployd(address, "check", "--json")).status == 3
        daemon.answers["", "Check"] = {"apps": [{"app": "odd", "valid": True, "error": None, "warnings": ["x"]}]}
        assert await deployd(address, "check") == (0, "odd: valid\n", "odd: warning: x\n")
        assert await deployd(address, "pause", "demo") == (0, "", "demo: paused; continue with: deployd resume demo\n")

    with_daemon(address, work)


def test_a_closed_pipe_is_not_reported_as_an_error(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deployd_cli", "status", "demo"),
            stdout=writer,
            stderr=subprocess.PIPE,
            env=environment(address, PYTHONPATH=os.pathsep.join(map(str, (CHECKOUT / "daemon", CHECKOUT / "cli")))),
        )
        os.close(writer)
        _, err = await process.communicate()
        assert (process.returncode, err) == (1, b"")

    with_daemon(address, work)


def test_logs_run_journalctl_with_the_matches_of_the_daemon(address: str, tmp_path: Path) -> None:
    async def work(daemon: FakeDaemon) -> None:
        journalctl = tmp_path / "bin" / "journalctl"
        journalctl.parent.mkdir()
        journalctl.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        journalctl.chmod(0o755)
        daemon.answers["demo", "LogMatches"] = ["UNIT=demo.service", "+", "DEPLOYD_APP=demo"]
        path = f"{journalctl.parent}{os.pathsep}{os.environ['PATH']}"
        done = await deployd(address, "logs", "demo", "-f", "-n", "5", "-g", "3", "-o", "short", PATH=path)
        matches = ["UNIT=demo.service", "+", "DEPLOYD_APP=demo"]
        assert done.out.split() == ["--output=short", "--lines=5", "--follow", *matches]
        assert ("demo", "LogMatches", [3]) in daemon.calls
        more = ["--since", "-1h", "-U", "2026-01-02 03:00", "-p", "err", "--grep", "a b", "-o", "cat"]
        done = await deployd(address, "logs", "demo", *more, PATH=path)
        options = ["--output=cat", "--since=-1h", "--until=2026-01-02 03:00", "--priority=err", "--grep=a b"]
        assert done.out.splitlines()[:5] == options
        done = await deployd(address, "logs", "demo", "--json", PATH=path)
        assert done.out.splitlines()[0] == "--output=json"
        assert (await deployd(address, "logs", "demo", "--json", "-o", "cat", PATH=path)).status == 2

    with_daemon(address, work)


def test_status_does_not_import_slow_modules(address: str) -> None:
    """Each of these is a considerable part of the start; recent typers import pydantic for most values."""
    heavy = {"pydantic", "rich", "gi", "importlib.metadata", "jinja2"}
    code = f"""if True:
        import sys
        from deployd_cli.main import main
        status = main(["status", "demo"])
        print(*sorted(filter(sys.modules.get, {heavy!r})), file=sys.stderr)  # None: hidden
        sys.exit(status)
    """

    async def work(daemon: FakeDaemon) -> None:
        path = os.pathsep.join(map(str, (CHECKOUT / "daemon", CHECKOUT / "cli")))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(address, PYTHONPATH=path),
        )
        done = await ended(process)
        assert (done.status, done.err) == (0, "\n")

    with_daemon(address, work)
