"""The command as its users see it: help, exit statuses, what goes to which stream."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from deployd import __version__
from deployd.errors import Busy, InvalidFile, Refused
from deployd_cli.main import main
from deployd_cli.program import COMMANDS
from tests.cli.fake_daemon import FakeDaemon, environment, generation_row, private_bus, status

NOUNS = {"check", "units", "plan", "status", "history", "releases", "logs", "compare"}
CHECKOUT = Path(__file__).resolve().parents[2]
ROLLOUT_OPTIONS = {"--no-block", "--supersede", "--json"}
OPTIONS: dict[str, set[str]] = {
    "check": {"--json"},
    "units": {"--diff", "--json"},
    "apply": {"--no-start", "--canary", *ROLLOUT_OPTIONS},
    "plan": {"--release", "--canary", "--json"},
    "rollout": {"--release", "--canary", *ROLLOUT_OPTIONS},
    "rollback": {"--to", "--past-irreversible", *ROLLOUT_OPTIONS},
    "resume": {"--wait", "--json"},
    "abort": {"--past-irreversible", "--wait", "--json"},
    "restart": ROLLOUT_OPTIONS,
    "scale": ROLLOUT_OPTIONS,
    "status": {"--watch", "--json"},
    "history": {"--before", "--json"},
    "repair": {"--json"},
    "compare": {"--json"},
    "releases": {"--json"},
    "logs": {"--generation", "--follow", "--lines", "--json"},
}


class Done(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with private_bus(tmp_path) as address:
        yield address


async def started(address: str, *arguments: str, **env: str) -> asyncio.subprocess.Process:
    environ = environment(address, PYTHONPATH=os.pathsep.join(map(str, (CHECKOUT / "daemon", CHECKOUT / "cli"))), **env)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deployd_cli",
        *arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
    )


async def ended(process: asyncio.subprocess.Process) -> Done:
    out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def deployd(address: str, *arguments: str, **env: str) -> Done:
    return await ended(await started(address, *arguments, **env))


def with_daemon(address: str, work: Callable[[FakeDaemon], Awaitable[None]]) -> None:
    async def together() -> None:
        async with asyncio.timeout(60), FakeDaemon.at(address) as daemon:
            await work(daemon)

    asyncio.run(together())


@contextlib.asynccontextmanager
async def rolling(address: str, daemon: FakeDaemon, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command that has begun generation 8 and waits."""
    for member in ("Rollout", "Apply", "Rollback", "Restart", "Scale"):
        daemon.answers["demo", member] = 8
    process = await started(address, *arguments)
    try:
        await daemon.wait_for(arguments[0].title())
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


# Help and usage need no daemon.


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"Usage: deployd {command} ")
    assert OPTIONS.get(command, set()) <= set(out.replace(",", " ").split())
    assert "--reload" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_nouns_make_no_changes_and_verbs_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(COMMANDS) > NOUNS
    for command in COMMANDS:
        main([command, "--help"])
        assert ("Changes nothing." in capsys.readouterr().out) == (command in NOUNS), command


def test_the_help_lists_every_command_with_a_whole_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out.split("Commands:\n")[1].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert not [line for line in listed if line.endswith("...")]


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"deployd {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["rollout"],
        ["rollout", "demo", "--bogus"],
        ["scale", "demo"],
        ["scale", "demo", "many"],
        ["scale", "demo", "--", "-1"],
        ["rollback", "demo", "--to", "0"],
        ["rollout", "demo", "--canary", "0"],
        ["plan", "demo", "--canary", "one"],
        ["rollout", "demo", "--canary", "0%"],
        ["apply", "demo", "--canary", "101%"],
        ["weight", "demo", "8"],
        ["weight", "demo", "8", "10"],
        ["weight", "demo", "8", "100.1%"],
        ["weight", "demo", "0", "10%"],
        ["restart", "demo", "--canary", "1"],
        ["resume", "demo", "--json"],
        ["logs", "demo", "-n", "x"],
    ],
)
def test_wrong_usage_is_2_and_says_so_on_standard_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Error: " in err


def test_an_argument_that_is_not_text_is_refused_before_anything_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollout", "demo", "--release", os.fsdecode(b"/srv/caf\xe9")]) == 2
    assert (
        capsys.readouterr().err
        == "deployd: the argument /srv/caf\\xe9 is not UTF-8; rename the file or app that it names\n"
    )


# The rest talks to a daemon.


def test_without_a_bus_or_a_daemon_it_is_5_and_one_sentence(address: str, tmp_path: Path) -> None:
    for place in (address, f"unix:path={tmp_path}/nowhere"):
        done = asyncio.run(deployd(place, "status"))
        assert (done.status, done.out) == (5, "")
        assert done.err.startswith("deployd: ")
        assert done.err.count("\n") == 1


def test_history_is_told_by_the_page(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        page = {"app": "demo", "generations": [generation_row(9), generation_row(8)], "more": True}
        daemon.answers["demo", "History"] = page
        done = await deployd(address, "history", "demo")
        assert done.err == "older generations: deployd history demo --before 8\n"
        daemon.answers["demo", "HistoryBefore"] = {**page, "generations": [generation_row(7)], "more": False}
        done = await deployd(address, "history", "demo", "--before", "8")
        assert (done.status, done.out.split()[8], done.err) == (0, "7", "")
        assert daemon.calls[-1] == ("demo", "HistoryBefore", [8])
        daemon.answers["demo", "HistoryBefore"] = {"app": "demo", "generations": []}
        assert "no generation before 1" in (await deployd(address, "history", "demo", "--before", "1")).err

    with_daemon(address, work)


def test_a_history_that_cannot_be_used_is_told_and_repaired(address: str) -> None:
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


def test_json_is_passed_through_whole(address: str) -> None:
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
        assert await deployd(address, "pause", "demo") == (0, "", "demo: paused; continue with: deployd resume demo\n")

    with_daemon(address, work)


def test_a_rollout_in_a_pipe_is_told_line_by_line(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        async with rolling(address, daemon, "rollout", "demo", "--release", "next") as process:
            daemon.emit("started", release="/srv/demo/8")
            assert process.stdout is not None
            # Read while it still runs: lines are flushed one by one.
            assert await process.stdout.readline() == b"demo: rolling out generation 8 in place of 7: /srv/demo/8\n"
            daemon.emit("instance", instance=5, generation=8, state="ready")
            daemon.emit("finished", result="succeeded", duration=6.2, replaced=[1, 2], adopted=[3])
            done = await ended(process)
        assert done.status == 0
        assert done.out.splitlines() == [
            "demo: instance 5 (generation 8) ready",
            "demo: generation 8 is live: 2 replaced, 1 adopted, 6.2 s",
        ]
        options = next(body for _, member, body in daemon.calls if member == "Rollout")
        assert options == [{"release": str(Path.cwd() / "next")}]

    with_daemon(address, work)


@pytest.mark.parametrize(
    "arguments", [["rollout"], ["apply"], ["rollback"], ["restart"], ["scale", "3"], ["rollout", "--reload"]]
)
def test_json_of_whatever_rolls_out_ends_with_finished(address: str, arguments: list[str]) -> None:
    async def work(daemon: FakeDaemon) -> None:
        verb, *rest = arguments
        async with rolling(address, daemon, verb, "demo", *rest, "--json") as process:
            daemon.emit("started")
            daemon.emit("finished", result="rolled-back", reason="instance 5 exited with status 3", novel=1)
            done = await ended(process)
        assert done.status == 1
        first, last = map(json.loads, done.out.splitlines())
        assert first["event"] == "started"
        assert (last["event"], last["result"], last["novel"]) == ("finished", "rolled-back", 1)
        assert done.err == (
            "deployd: demo: generation 8 failed and was rolled back to 7: instance 5 exited with status 3\n"
        )

    with_daemon(address, work)


def test_nothing_to_do_is_done(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        daemon.answers["demo", "Apply"] = 0
        assert await deployd(address, "apply", "demo") == (0, "", "demo: nothing to do\n")
        done = await deployd(address, "apply", "demo", "--json")
        assert (done.status, json.loads(done.out)["event"]) == (0, "finished")

    with_daemon(address, work)


def test_no_block_returns_at_once(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        daemon.answers["demo", "Rollout"] = 8
        done = await deployd(address, "rollout", "demo", "--no-block")
        assert (done.status, done.out) == (0, "")
        assert "generation 8" in done.err

    with_daemon(address, work)


def test_control_c_leaves_the_rollout_running_and_says_so(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        async with rolling(address, daemon, "rollout", "demo") as process:
            daemon.emit("started")
            assert process.stdout is not None
            await process.stdout.readline()
            process.send_signal(signal.SIGINT)
            done = await ended(process)
        assert done.status == 130
        assert "the rollout of generation 8 continues" in done.err
        assert done.err.count("\n") == 1
        assert not [member for _, member, _ in daemon.calls if member in ("Abort", "Pause")]

    with_daemon(address, work)


def test_a_reader_that_has_seen_enough_is_no_error_worth_words(address: str) -> None:
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


def test_logs_become_journalctl_with_the_daemons_matches(address: str, tmp_path: Path) -> None:
    async def work(daemon: FakeDaemon) -> None:
        journalctl = tmp_path / "bin" / "journalctl"
        journalctl.parent.mkdir()
        journalctl.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        journalctl.chmod(0o755)
        daemon.answers["demo", "LogMatches"] = ["UNIT=demo.service", "+", "DEPLOYD_APP=demo"]
        path = f"{journalctl.parent}{os.pathsep}{os.environ['PATH']}"
        done = await deployd(address, "logs", "demo", "-f", "-n", "5", "--generation", "3", PATH=path)
        assert done.out.split() == ["--follow", "--lines=5", "UNIT=demo.service", "+", "DEPLOYD_APP=demo"]
        assert ("demo", "LogMatches", [3]) in daemon.calls

    with_daemon(address, work)


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_gets_a_picture_and_colour_only_if_it_is_wanted(address: str, no_color: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        daemon.answers["demo", "Rollout"] = 8
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deployd_cli", "rollout", "demo"),
            stdout=theirs,
            stderr=subprocess.PIPE,
            env=environment(
                address,
                PYTHONPATH=os.pathsep.join(map(str, (CHECKOUT / "daemon", CHECKOUT / "cli"))),
                TERM="xterm",
                NO_COLOR=no_color,
            ),
        )
        os.close(theirs)
        await daemon.wait_for("Rollout")
        daemon.emit("started", release="/srv/demo/8")
        daemon.emit("instance", instance=5, generation=8, state="ready")
        daemon.emit("finished", result="succeeded", duration=6.2, replaced=[1], adopted=[])
        shown = await asyncio.to_thread(_all_of, ours)
        assert await process.wait() == 0
        assert shown.splitlines()[-1].endswith("demo: generation 8 is live: 1 replaced, 0 adopted, 6.2 s")
        assert re.search(r"\x1b\[[0-9]+A", shown), "drawn over"
        assert ("\x1b[32m" in shown) == (not no_color)

    with_daemon(address, work)


def _all_of(terminal: int) -> str:
    """All that is written to a terminal until its last writer has gone."""
    data = b""
    with contextlib.suppress(OSError):
        while chunk := os.read(terminal, 65536):
            data += chunk
    os.close(terminal)
    return data.decode()


def test_status_imports_nothing_that_it_can_do_without(address: str) -> None:
    """Each of these costs a tenth or more of the start; recent typers import pydantic for most values."""
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
