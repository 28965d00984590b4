"""Events and changes, and waiting for a rollout across restarts of the daemon, on a real bus."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deployd import bus
from deployd.api import Client
from deployd.bus import Bus
from deployd.errors import (
    Refused,
    Unreachable,
)
from deployd.replies import Json
from tests.cli.fake_daemon import FakeDaemon, against, generation_row, private_bus, status


def test_only_events_of_the_rollout_are_followed_to_its_end(address: str) -> None:
    async def work(daemon: FakeDaemon, client: Client) -> None:
        async with client.watch("demo") as watch:
            daemon.emit("finished", to=7, generation=7, result="superseded")
            daemon.emit("started")
            daemon.emit("instance", instance=5, generation=8, state="ready")
            daemon.emit("finished", generation=8, result="succeeded")
            daemon.emit("started", to=9)
            shown = [event["event"] async for event in watch.until_finished(8)]
        assert shown == ["started", "instance", "finished"]

    against(address, work)


def test_a_forged_event_cannot_end_the_wait(address: str) -> None:
    async def work(daemon: FakeDaemon, client: Client) -> None:
        stranger_bus = await Bus.connect(address)
        stranger = FakeDaemon(stranger_bus)
        everything = "type='signal',interface='org.deployd1.App'"  # as if it were sent to us alone
        await client.bus.call(*bus.DBUS, "AddMatch", "s", [everything])
        async with client.watch("demo") as watch:
            stranger.emit("finished", result="succeeded")
            await stranger_bus.call("org.freedesktop.DBus", "/", "org.freedesktop.DBus.Peer", "Ping")
            daemon.emit("finished", result="failed")
            assert [event["result"] async for event in watch.until_finished(8)] == ["failed"]
        await stranger_bus.close()

    against(address, work)


async def _begin_and_lose_the_daemon(address: str, watched: asyncio.Queue[Json]) -> None:
    """Run a daemon that sends "started" and stops when the client has received it."""
    async with FakeDaemon.at(address) as daemon:
        await daemon.wait_for("Describe")
        daemon.emit("started")
        await watched.get()


@pytest.mark.parametrize("result", ["succeeded", "rolled-back"])
def test_the_result_of_a_rollout_that_ended_without_a_daemon_comes_from_the_history(address: str, result: str) -> None:
    async def work() -> None:
        heard: asyncio.Queue[Json] = asyncio.Queue()
        first = asyncio.ensure_future(_begin_and_lose_the_daemon(address, heard))
        events: list[Json] = []
        async with await Client.connect(address) as client, client.watch("demo") as watch:

            async def follow() -> None:
                async for event in watch.until_finished(8):
                    events.append(event)
                    heard.put_nowait(event)

            while True:  # until the daemon owns its name again
                try:
                    await client.status("demo")
                    break
                except Unreachable:
                    await watch.next()
            following = asyncio.ensure_future(follow())
            await first
            async with FakeDaemon.at(address, generation_row(8, result, reason="because")):
                await following
        assert [event["event"] for event in events] == ["started", "daemon-lost", "finished"]
        assert {key: events[-1][key] for key in ("result", "reason", "to", "duration", "replaced")} == {
            "result": result,
            "reason": "because",
            "to": 8,
            "duration": 6.2,
            "replaced": [1, 2, 3, 4],
        }

    asyncio.run(asyncio.wait_for(work(), 30))


def test_a_rollout_is_followed_across_a_restart_of_the_daemon(address: str) -> None:
    async def work() -> None:
        events: list[Json] = []
        heard: asyncio.Queue[Json] = asyncio.Queue()
        async with await Client.connect(address) as client, client.watch("demo") as watch:

            async def follow() -> None:
                async for event in watch.until_finished(8):
                    events.append(event)
                    heard.put_nowait(event)

            async with FakeDaemon.at(address) as daemon:
                await client.status("demo")
                following = asyncio.ensure_future(follow())
                daemon.emit("started")
                await heard.get()
            async with FakeDaemon.at(address, generation_row(8, "running")) as daemon:
                while (await heard.get())["event"] != "daemon-back":
                    pass
                daemon.emit("instance", instance=5, generation=8, state="ready")
                daemon.emit("finished", result="succeeded")
                await following
        shown = [event["event"] for event in events]
        assert shown == ["started", "daemon-lost", "daemon-back", "instance", "finished"]

    asyncio.run(asyncio.wait_for(work(), 30))


def test_a_restart_before_the_wait_begins_is_noticed(address: str) -> None:
    async def work() -> None:
        async with await Client.connect(address) as client:
            async with FakeDaemon.at(address):
                watch = await client.watch("demo").__aenter__()
            async with FakeDaemon.at(address, generation_row(8)):
                await client.status("demo")  # by now both changes of the owner are waiting to be shown
                shown = [event["event"] async for event in watch.until_finished(8, patience=5)]
        assert shown == ["daemon-lost", "finished"]

    asyncio.run(asyncio.wait_for(work(), 30))


def test_the_wait_ends_if_the_daemon_stays_down_or_there_is_no_event(address: str) -> None:
    async def work() -> None:
        async with await Client.connect(address) as client, client.watch("demo") as watch:
            async with FakeDaemon.at(address):
                await client.status("demo")
                with pytest.raises(Unreachable, match="no event for"):
                    _ = [event async for event in watch.until_finished(8, deadline=0.05)]
            with pytest.raises(Unreachable, match="did not start again"):
                _ = [event async for event in watch.until_finished(8, patience=0.05)]

    asyncio.run(asyncio.wait_for(work(), 30))


def test_a_lost_bus_ends_the_wait(tmp_path: Path) -> None:
    async def work() -> None:
        with private_bus(tmp_path) as address:
            client = await Client.connect(address)
            watch = await client.watch("demo").__aenter__()
        with pytest.raises(Unreachable, match="bus"):
            await watch.next()
        await client.close()

    asyncio.run(asyncio.wait_for(work(), 30))


def test_changes_begin_with_the_status_and_survive_the_daemon(address: str) -> None:
    async def work(daemon: FakeDaemon, client: Client) -> None:
        changes = client.changes("demo")
        assert (await anext(changes))["ready"] == 4
        daemon.change("other", ready=1)
        daemon.change("demo", ready=3)
        assert (await anext(changes))["ready"] == 3
        await changes.aclose()

        daemon.answers["", "Describe"] = {"apps": [status("a"), status("b")], "version": "1"}
        everything = client.changes()
        assert [(await anext(everything))["app"] for _ in range(2)] == ["a", "b"]
        daemon.change("b", ready=2)
        assert (await anext(everything))["ready"] == 2
        await everything.aclose()

    against(address, work)


def test_events_are_those_of_the_app(address: str) -> None:
    async def work(daemon: FakeDaemon, client: Client) -> None:
        events = client.events("demo")
        first: asyncio.Future[Any] = asyncio.ensure_future(anext(events))
        await client.status("demo")  # its reply comes after the replies to the subscription
        await client.status("demo")
        await client.status("demo")
        await client.status("demo")
        daemon.emit("paused", reason="x")
        assert (await first)["event"] == "paused"
        await events.aclose()

    against(address, work)


def test_journal_lines_that_a_signal_lacks_are_requested(address: str) -> None:
    """Every user receives a signal; the daemon decides which journal lines a caller may read."""

    async def work(daemon: FakeDaemon, client: Client) -> None:
        whole = {"event": "failed-gate", "to": 8, "failure": {"journal": ["last words"], "journal_lines": 1}}
        daemon.answers["demo", "Event"] = whole
        async with client.watch("demo") as watch:
            daemon.emit("failed-gate", number=77, failure={"journal": [], "journal_lines": 1})
            daemon.emit("hook", hook="before", state="started", journal=[], journal_lines=0)
            assert await watch.next() == whole
            shown = await watch.next()
            assert isinstance(shown, dict)
            assert shown["hook"] == "before"
            assert [call for call in daemon.calls if call[1] == "Event"] == [("demo", "Event", [77])]
            daemon.answers["demo", "Event"] = Refused("event 78 is not kept any more")
            daemon.emit("failed-gate", number=78, failure={"journal": [], "journal_lines": 1})
            shown = await watch.next()
            assert isinstance(shown, dict)
            assert shown["failure"] == {"journal": [], "journal_lines": 1}
            watch._on_owner("")
            daemon.emit("failed-gate", number=79, failure={"journal": [], "journal_lines": 1})
            assert await watch.next() == ""
            await watch.next()
            assert ("demo", "Event", [79]) not in daemon.calls, "a call would start the daemon"

    against(address, work)


def test_events_of_hooks_are_complete_before_the_request_is_refused(address: str) -> None:
    async def work(daemon: FakeDaemon, client: Client) -> None:
        daemon.answers["demo", "Event"] = {"event": "hook", "hook": "before", "journal": ["no such table"]}
        seen: list[Json] = []
        async with client.watch("demo") as watch, watch.meanwhile(seen.append):
            daemon.emit("hook", hook="before", state="failed", number=5, journal=[], journal_lines=1)
            await client.status("demo")  # its answer comes after the signal
        assert [event["journal"] for event in seen] == [["no such table"]]

    against(address, work)


def test_a_status_without_its_journal_lines_is_requested(address: str) -> None:
    async def work(daemon: FakeDaemon, client: Client) -> None:
        changes = client.changes("demo")
        assert await anext(changes) == status()
        daemon.answers["demo", "Describe"] = whole = status(instances=[{"journal": ["last words"], "journal_lines": 1}])
        daemon.change("demo", instances=[{"journal": [], "journal_lines": 1}])
        assert await anext(changes) == whole
        await changes.aclose()

    against(address, work)
