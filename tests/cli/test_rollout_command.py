"""Commands that begin a rollout: what they print until its end, in a pipe, as JSON and on a terminal."""

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
from pathlib import Path

import pytest

from tests.cli.fake_daemon import FakeDaemon, environment, generation_row, status
from tests.cli.process import CHECKOUT, deployd, ended, rolling, started, with_daemon


def test_a_rollout_in_a_pipe_is_printed_line_by_line(address: str) -> None:
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
def test_json_of_every_rollout_ends_with_finished(address: str, arguments: list[str]) -> None:
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


def test_nothing_to_do_is_a_success(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        daemon.answers["demo", "Apply"] = 0
        assert await deployd(address, "apply", "demo") == (
            0,
            "",
            "demo: nothing to do: /srv/demo/releases/7 (unchanged)\n",
        )
        done = await deployd(address, "apply", "demo", "--json")
        assert (done.status, json.loads(done.out)["event"]) == (0, "finished")

    with_daemon(address, work)


def test_wait_attaches_to_the_rollout_in_progress(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        rollout = {"phase": "rolling", "from": 7, "to": 8, "reason": ""}
        daemon.answers["demo", "Describe"] = status(rollout=rollout)
        process = await started(address, "wait", "demo", "--json")
        await daemon.wait_for("Describe", times=2)
        daemon.emit("instance", instance=5, generation=8, state="ready")
        daemon.emit("finished", result="rolled-back", reason="instance 5 exited with status 3")
        done = await ended(process)
        assert done.status == 1
        assert [json.loads(line)["event"] for line in done.out.splitlines()] == ["instance", "finished"]
        assert not [member for _, member, _ in daemon.calls if member in ("Rollout", "Resume")]

    with_daemon(address, work)


@pytest.mark.parametrize(
    ("result", "exit_status", "out", "err"),
    [
        ("succeeded", 0, "demo: generation 8 is live: 4 replaced, 0 adopted, 6.2 s\n", ""),
        ("aborted", 1, "", "deployd: demo: generation 8 was aborted and rolled back to 7\n"),
    ],
)
def test_wait_without_a_rollout_in_progress_exits_as_the_last_one(
    address: str, result: str, exit_status: int, out: str, err: str
) -> None:
    async def work(daemon: FakeDaemon) -> None:
        rows = [generation_row(8, result, origin=7), generation_row(7)]
        daemon.answers["demo", "History"] = {"app": "demo", "generations": rows}
        daemon.answers["demo", "Describe"] = status()
        assert await deployd(address, "wait", "demo") == (exit_status, out, err)
        daemon.answers["demo", "History"] = {"app": "demo", "generations": []}
        done = await deployd(address, "wait", "demo")
        assert (done.status, done.err) == (
            3,
            "deployd: demo has had no rollout; deploy it with: deployd apply demo\n",
        )

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


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_gets_a_display_and_no_colour_with_no_color(address: str, no_color: str) -> None:
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
    """Return everything that is written to a terminal until it is closed."""
    data = b""
    with contextlib.suppress(OSError):
        while chunk := os.read(terminal, 65536):
            data += chunk
    os.close(terminal)
    return data.decode()


@pytest.mark.parametrize(("arguments", "status"), [(["rollout"], 6), (["rollout", "--reload"], 0), (["apply"], 0)])
def test_a_rollout_that_restarts_no_process_has_a_status_of_its_own(
    address: str, arguments: list[str], status: int
) -> None:
    async def work(daemon: FakeDaemon) -> None:
        verb, *rest = arguments
        async with rolling(address, daemon, verb, "demo", *rest) as process:
            daemon.emit("finished", result="succeeded", duration=0.1, replaced=[], adopted=[1, 2])
            done = await ended(process)
        assert done.out == "demo: generation 8 is live: 0 replaced, 2 adopted, 0.1 s\n"
        assert (done.status, "with: deployd restart demo" in done.err) == (status, status == 6)

    with_daemon(address, work)
