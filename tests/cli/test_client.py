"""deployd.api against a daemon on a real bus: what it says, what its errors mean, what outlives it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployd import bus
from deployd.api import Client, app_path
from deployd.bus import Bus, BusError
from deployd.errors import (
    AccessDenied,
    Busy,
    DeploydError,
    ExitStatus,
    InvalidFile,
    NoSuchApp,
    Refused,
    Unreachable,
)
from deployd.replies import Json, error_from
from tests.cli.fake_daemon import FakeDaemon, generation_row, private_bus, status

DBUS = "org.freedesktop.DBus.Error."


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with private_bus(tmp_path) as address:
        yield address


def against(address: str, work: Callable[[FakeDaemon, Client], Awaitable[None]]) -> None:
    """Do `work` with a daemon and a client of it, within half a minute."""

    async def together() -> None:
        async with asyncio.timeout(30), FakeDaemon.at(address) as daemon, await Client.connect(address) as client:
            await work(daemon, client)

    asyncio.run(together())


@pytest.mark.parametrize(
    ("app", "path"),
    [
        ("demo", "demo"),
        ("my-app", "my_2dapp"),
        ("9to5", "_39to5"),
        ("a9", "a9"),
        ("a_b", "a_5fb"),
        ("é", "_c3_a9"),
        ("", "_"),
    ],
)
def test_paths_are_encoded_as_systemd_does(app: str, path: str) -> None:
    assert app_path(app) == f"/org/deployd1/app/{path}"


@pytest.mark.parametrize(
    ("name", "error", "exit_status"),
    [
        ("org.deployd1.Error.Busy", Busy, ExitStatus.REFUSED),
        ("org.deployd1.Error.InvalidFile", InvalidFile, ExitStatus.REFUSED),
        ("org.deployd1.Error.NoSuchApp", NoSuchApp, ExitStatus.NO_SUCH_APP),
        (DBUS + "AccessDenied", AccessDenied, ExitStatus.REFUSED),
        (DBUS + "UnknownObject", NoSuchApp, ExitStatus.NO_SUCH_APP),
        (DBUS + "ServiceUnknown", Unreachable, ExitStatus.UNREACHABLE),
        (DBUS + "NoReply", Unreachable, ExitStatus.UNREACHABLE),
        (DBUS + "Spawn.ChildExited", Unreachable, ExitStatus.UNREACHABLE),
        ("org.freedesktop.systemd1.NoSuchUnit", Unreachable, ExitStatus.UNREACHABLE),
        ("org.example.Novel", DeploydError, ExitStatus.FAILED),
    ],
)
def test_every_error_reply_has_its_meaning(name: str, error: type[DeploydError], exit_status: ExitStatus) -> None:
    meant = error_from(BusError(name, "why"), "demo")
    assert type(meant) is error
    assert meant.exit_status is exit_status
    assert "why" in str(meant) or "demo" in str(meant)


def test_what_a_process_wrote_stands_below_the_sentence() -> None:
    meant = error_from(BusError("org.deployd1.Error.Refused", "before hook ./x failed\nno such table\n  users"), "demo")
    assert (type(meant), str(meant)) == (Refused, "before hook ./x failed")
    assert meant.__notes__ == ["    no such table", "      users"]


def test_calls_reach_the_daemon_and_answers_come_back(address: str) -> None:
    async def work(daemon: FakeDaemon, client: Client) -> None:
        for member in ("Apply", "Rollout", "Rollback", "Restart", "Scale"):
            daemon.answers["demo", member] = 8
        daemon.answers["demo", "Plan"] = {"floor": 4}
        daemon.answers["demo", "LogMatches"] = ["UNIT=demo.service"]
        daemon.answers["", "Check"] = {"apps": []}
        assert await client.list_apps() == ["demo"]
        assert await client.status("demo") == status()
        assert await client.plan("demo", release="/srv/x") == {"floor": 4}
        assert await client.plan("demo", canary=2) == {"floor": 4}
        assert await client.log_matches("demo", 3) == ["UNIT=demo.service"]
        assert await client.check() == {"apps": []}
        assert await client.rollout("demo", release="/srv/x", cause="reload") == 8
        assert await client.rollout("demo") == 8
        assert await client.rollout("demo", canary=2, supersede=True) == 8
        assert await client.apply("demo", start=False) == 8
        assert await client.apply("demo", canary=2, supersede=True) == 8
        assert await client.rollback("demo", 5) == 8
        assert await client.rollback("demo", supersede=True, past_irreversible=True) == 8
        assert await client.restart("demo") == 8
        assert await client.restart("demo", supersede=True) == 8
        assert await client.scale("demo", 6) == 8
        assert await client.scale("demo", 6, supersede=True) == 8
        for verb in (client.pause, client.resume, client.abort, client.remove):
            await verb("demo")
        await client.abort("demo", past_irreversible=True)
        said = [(member, body) for app, member, body in daemon.calls if app]
        assert said == [
            ("Describe", []),
            ("Plan", [{"release": "/srv/x"}]),
            ("Plan", [{"canary": 2}]),
            ("LogMatches", [3]),
            ("Rollout", [{"release": "/srv/x", "cause": "reload"}]),
            ("Rollout", [{}]),
            ("Rollout", [{"canary": 2, "supersede": True}]),
            ("Apply", [{"start": False}]),
            ("Apply", [{"start": True, "canary": 2, "supersede": True}]),
            ("Rollback", [5, {}]),
            ("Rollback", [0, {"supersede": True, "past_irreversible": True}]),
            ("Restart", [{}]),
            ("Restart", [{"supersede": True}]),
            ("Scale", [6, {}]),
            ("Scale", [6, {"supersede": True}]),
            ("Pause", []),
            ("Resume", []),
            ("Abort", [{}]),
            ("Remove", []),
            ("Abort", [{"past_irreversible": True}]),
        ]

    against(address, work)


def test_errors_of_the_daemon_arrive_as_what_they_were(address: str) -> None:
    async def work(daemon: FakeDaemon, client: Client) -> None:
        daemon.answers["demo", "Rollout"] = Refused("not now")
        with pytest.raises(Refused, match="not now"):
            await client.rollout("demo")
        with pytest.raises(NoSuchApp, match="nope"):
            await client.status("nope")

    against(address, work)


def test_a_daemon_that_is_not_there_is_unreachable(address: str) -> None:
    async def work() -> None:
        async with await Client.connect(address) as client:
            with pytest.raises(Unreachable, match="does not answer"):
                await client.describe()

    asyncio.run(work())


def test_a_rollout_is_followed_to_its_end_and_others_are_not(address: str) -> None:
    async def work(daemon: FakeDaemon, client: Client) -> None:
        async with client.watch("demo") as watch:
            daemon.emit("finished", to=7, generation=7, result="superseded")
            daemon.emit("started")
            daemon.emit("instance", instance=5, generation=8, state="ready")
            daemon.emit("finished", generation=8, result="succeeded")
            daemon.emit("started", to=9)
            told = [event["event"] async for event in watch.until_finished(8)]
        assert told == ["started", "instance", "finished"]

    against(address, work)


def test_a_stranger_cannot_end_a_rollout(address: str) -> None:
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
    """A daemon that says "started" and is gone when the client has heard it."""
    async with FakeDaemon.at(address) as daemon:
        await daemon.wait_for("Describe")
        daemon.emit("started")
        await watched.get()


@pytest.mark.parametrize("result", ["succeeded", "rolled-back"])
def test_a_rollout_that_ended_while_the_daemon_was_away_is_told_from_history(address: str, result: str) -> None:
    async def work() -> None:
        heard: asyncio.Queue[Json] = asyncio.Queue()
        first = asyncio.ensure_future(_begin_and_lose_the_daemon(address, heard))
        events: list[Json] = []
        async with await Client.connect(address) as client, client.watch("demo") as watch:

            async def follow() -> None:
                async for event in watch.until_finished(8):
                    events.append(event)
                    heard.put_nowait(event)

            while True:  # the daemon takes its name in its own time; owner changes tell when
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


def test_a_rollout_that_goes_on_after_the_daemons_return_is_followed_on(address: str) -> None:
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
        told = [event["event"] for event in events]
        assert told == ["started", "daemon-lost", "daemon-back", "instance", "finished"]

    asyncio.run(asyncio.wait_for(work(), 30))


def test_a_return_before_the_waiting_begins_is_a_return(address: str) -> None:
    async def work() -> None:
        async with await Client.connect(address) as client:
            async with FakeDaemon.at(address):
                watch = await client.watch("demo").__aenter__()
            async with FakeDaemon.at(address, generation_row(8)):
                await client.status("demo")  # by now both changes of the owner are waiting to be told
                told = [event["event"] async for event in watch.until_finished(8, patience=5)]
        assert told == ["daemon-lost", "finished"]

    asyncio.run(asyncio.wait_for(work(), 30))


def test_waiting_ends_when_the_daemon_stays_away_or_the_deadline_passes(address: str) -> None:
    async def work() -> None:
        async with await Client.connect(address) as client, client.watch("demo") as watch:
            async with FakeDaemon.at(address):
                await client.status("demo")
                with pytest.raises(Unreachable, match="no event for"):
                    _ = [event async for event in watch.until_finished(8, deadline=0.05)]
            with pytest.raises(Unreachable, match="did not start again"):
                _ = [event async for event in watch.until_finished(8, patience=0.05)]

    asyncio.run(asyncio.wait_for(work(), 30))


def test_a_bus_that_goes_away_ends_the_waiting(tmp_path: Path) -> None:
    async def work() -> None:
        with private_bus(tmp_path) as address:
            client = await Client.connect(address)
            watch = await client.watch("demo").__aenter__()
        with pytest.raises(Unreachable, match="bus"):
            await watch.next()
        await client.close()

    asyncio.run(asyncio.wait_for(work(), 30))


def test_changes_begin_with_what_is_and_survive_the_daemon(address: str) -> None:
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


def test_lines_that_were_left_out_of_a_signal_are_asked_for(address: str) -> None:
    """A signal reaches everybody; what the caller may read of it is the daemon's to say."""

    async def work(daemon: FakeDaemon, client: Client) -> None:
        whole = {"event": "failed-gate", "to": 8, "failure": {"journal": ["last words"], "journal_lines": 1}}
        daemon.answers["demo", "Event"] = whole
        async with client.watch("demo") as watch:
            daemon.emit("failed-gate", number=77, failure={"journal": [], "journal_lines": 1})
            daemon.emit("hook", hook="before", state="started", journal=[], journal_lines=0)
            assert await watch.next() == whole
            told = await watch.next()
            assert isinstance(told, dict)
            assert told["hook"] == "before"
            assert [call for call in daemon.calls if call[1] == "Event"] == [("demo", "Event", [77])]
            daemon.answers["demo", "Event"] = Refused("event 78 is not kept any more")
            daemon.emit("failed-gate", number=78, failure={"journal": [], "journal_lines": 1})
            told = await watch.next()
            assert isinstance(told, dict)
            assert told["failure"] == {"journal": [], "journal_lines": 1}
            watch._on_owner("")
            daemon.emit("failed-gate", number=79, failure={"journal": [], "journal_lines": 1})
            assert await watch.next() == ""
            await watch.next()
            assert ("demo", "Event", [79]) not in daemon.calls, "a daemon that has gone is not started by a question"

    against(address, work)


def test_hooks_are_told_whole_before_the_request_is_refused(address: str) -> None:
    async def work(daemon: FakeDaemon, client: Client) -> None:
        daemon.answers["demo", "Event"] = {"event": "hook", "hook": "before", "journal": ["no such table"]}
        seen: list[Json] = []
        async with client.watch("demo") as watch, watch.meanwhile(seen.append):
            daemon.emit("hook", hook="before", state="failed", number=5, journal=[], journal_lines=1)
            await client.status("demo")  # its answer comes after the signal
        assert [event["journal"] for event in seen] == [["no such table"]]

    against(address, work)


def test_a_status_without_its_lines_is_asked_for(address: str) -> None:
    async def work(daemon: FakeDaemon, client: Client) -> None:
        changes = client.changes("demo")
        assert await anext(changes) == status()
        daemon.answers["demo", "Describe"] = whole = status(instances=[{"journal": ["last words"], "journal_lines": 1}])
        daemon.change("demo", instances=[{"journal": [], "journal_lines": 1}])
        assert await anext(changes) == whole
        await changes.aclose()

    against(address, work)


@pytest.mark.parametrize("interactive", [True, False])
def test_a_password_may_be_asked_for_when_something_is_to_change(address: str, interactive: bool) -> None:
    async def work(daemon: FakeDaemon, client: Client) -> None:
        daemon.answers["demo", "Rollout"] = 8
        client._interactive = interactive
        await client.status("demo")
        await client.rollout("demo")
        await client.pause("demo")
        assert daemon.interactive == [False, interactive, interactive]

    against(address, work)


def test_too_much_at_once_is_refused() -> None:
    meant = error_from(BusError(DBUS + "LimitsExceeded", "too many questions"), "demo")
    assert (type(meant), str(meant), meant.exit_status) == (Busy, "too many questions", ExitStatus.REFUSED)
