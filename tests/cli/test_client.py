"""deployd.api against a fake daemon on a real bus."""

from __future__ import annotations

import asyncio

import pytest

from deployd.api import Client, app_path
from deployd.errors import (
    NoSuchApp,
    Refused,
    Unreachable,
)
from tests.cli.fake_daemon import FakeDaemon, against, status


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


def test_errors_of_the_daemon_keep_their_type(address: str) -> None:
    async def work(daemon: FakeDaemon, client: Client) -> None:
        daemon.answers["demo", "Rollout"] = Refused("not now")
        with pytest.raises(Refused, match="not now"):
            await client.rollout("demo")
        with pytest.raises(NoSuchApp, match="nope"):
            await client.status("nope")

    against(address, work)


def test_a_missing_daemon_is_unreachable(address: str) -> None:
    async def work() -> None:
        async with await Client.connect(address) as client:
            with pytest.raises(Unreachable, match="does not answer"):
                await client.describe()

    asyncio.run(work())


@pytest.mark.parametrize("interactive", [True, False])
def test_only_changing_calls_may_ask_for_a_password(address: str, interactive: bool) -> None:
    async def work(daemon: FakeDaemon, client: Client) -> None:
        daemon.answers["demo", "Rollout"] = 8

        async def may_ask() -> bool:
            return interactive

        client._may_ask = may_ask
        await client.status("demo")
        await client.rollout("demo")
        await client.pause("demo")
        assert daemon.interactive == [False, interactive, interactive]

    against(address, work)
