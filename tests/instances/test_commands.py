"""Commands of an app: their settings are read from units, and those of an instance once for each of its starts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from deployd.instances.commands import Commands
from deployd.model.app import App
from deployd.model.instance import Instance, State
from deployd.state.pins import Pins
from deployd.systemd.settings import ServiceSettings
from deployd.systemd.transient import Command

APP = App("demo", "/srv/demo/current", ("./serve",), (), user="www-data")
INSTANCE = Instance(3, 7, State.READY, main_pid=42, invocation_id="ab" * 16)


class Execution:
    """Counts how often settings are read."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    async def of_instance(self, app: str, number: int) -> ServiceSettings:
        self.asked.append((app, number))
        return {"User": ("s", f"user{len(self.asked)}")}


async def probe(commands: Commands, instance: Instance) -> Command:
    argv = ("./bin/up", "-q")
    return await commands.of_instance(APP, instance, argv, "probe", release="/srv/demo/v2", timeout=2.0, quiet=True)


def test_a_probe_runs_with_the_settings_of_its_instance() -> None:
    commands = Commands(Execution(), Pins(Path("/var/lib/deployd")))  # type: ignore[arg-type]
    properties = asyncio.run(probe(commands, INSTANCE)).properties()
    assert properties["User"] == ("s", "user1")
    assert properties["Environment"] == ("as", ["DEPLOYD_INSTANCE=3", "MAINPID=42"])
    assert properties["ExecStart"][1][0][0] == "/srv/demo/v2/bin/up"
    assert properties["TimeoutStartUSec"] == ("t", 2_000_000)
    assert properties["LogLevelMax"] == ("i", 2)
    assert properties["StandardOutput"] == properties["StandardError"] == ("s", "null")


def test_settings_are_read_once_for_each_start() -> None:
    execution = Execution()
    commands = Commands(execution, Pins(Path("/var/lib/deployd")))  # type: ignore[arg-type]

    async def ask() -> list[Command]:
        again = replace(INSTANCE, invocation_id="cd" * 16)
        return [await probe(commands, item) for item in (INSTANCE, INSTANCE, again, again)]

    users = [command.settings["User"][1] for command in asyncio.run(ask())]
    assert users == ["user1", "user1", "user2", "user2"]
    assert execution.asked == [("demo", 3), ("demo", 3)]
