"""deployd events, against a fake daemon on a real bus."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from deployd.api import Client
from tests.cli.fake_daemon import FakeDaemon, against, private_bus
from tests.cli.process import deployd, ended, started, with_daemon


@contextlib.asynccontextmanager
async def following(address: str, daemon: FakeDaemon, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the command, which has asked the daemon for what exists and receives signals."""
    process = await started(address, "events", *arguments, TZ="UTC")
    try:
        await daemon.wait_for("ListApps" if "demo" not in arguments else "Describe")
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def test_each_event_is_a_dated_line_until_control_c(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        failed = {"command": "bin/warm", "state": "failed", "reason": "", "exit_status": 1, "journal": ["no"]}
        async with following(address, daemon, "demo") as process:
            daemon.emit("hook", hook="after", **failed)
            assert process.stdout is not None
            lines = [(await process.stdout.readline()).decode() for _ in range(2)]
            assert lines == [
                "2026-01-02 03:04:05 demo: after hook bin/warm: failed: exit status 1\n",
                "    no\n",
            ]
            process.send_signal(signal.SIGINT)
            assert (await ended(process)).status == 130

    with_daemon(address, work)


def test_events_of_all_apps_are_followed_as_json(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        async with following(address, daemon, "--json") as process:
            daemon.emit("paused", reason="canary")
            daemon.emit("crash-loop", app="other", instance=3)
            assert process.stdout is not None
            shown = [json.loads(await process.stdout.readline()) for _ in range(2)]
            assert [(event["app"], event["event"]) for event in shown] == [("demo", "paused"), ("other", "crash-loop")]

    with_daemon(address, work)


def test_an_app_that_does_not_exist_is_refused(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        daemon.apps.append("gone")
        done = await deployd(address, "events", "gone")
        assert (done.status, done.out) == (4, "")

    with_daemon(address, work)


def test_a_restart_of_the_daemon_is_an_event(tmp_path: Path) -> None:
    async def work() -> None:
        with private_bus(tmp_path) as address:
            async with await Client.connect(address) as client:
                async with FakeDaemon.at(address) as daemon:
                    events = client.events()
                    first: asyncio.Future[Any] = asyncio.ensure_future(anext(events))
                    await daemon.wait_for("ListApps")
                    daemon.emit("paused")
                    assert (await first)["event"] == "paused"
                assert (await anext(events))["event"] == "daemon-lost"
                async with FakeDaemon.at(address) as daemon:
                    assert (await anext(events))["event"] == "daemon-back"
                    daemon.emit("resumed")
                    assert (await anext(events))["event"] == "resumed"
                await events.aclose()

    asyncio.run(asyncio.wait_for(work(), 30))


def test_the_start_of_the_daemon_by_the_command_itself_is_none(address: str) -> None:
    async def work(daemon: FakeDaemon, client: Client) -> None:
        events = client.events("demo")
        first: asyncio.Future[Any] = asyncio.ensure_future(anext(events))
        await daemon.wait_for("Describe")
        daemon.emit("paused", reason="x")
        assert (await first)["event"] == "paused"
        await events.aclose()

    against(address, work)
