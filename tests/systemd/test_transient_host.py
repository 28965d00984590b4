"""Commands as transient units of a real systemd: several at once, across reloads, and without residue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from deployd.model.app import App, StopSettings
from deployd.model.gate import Answer
from deployd.systemd.manager import Systemd
from deployd.systemd.settings import ServiceSettings
from deployd.systemd.transient import Command, Transient
from tests.bus.private_bus import connections, run
from tests.host.machine import Machine
from tests.host.unit_journal import UnitJournal

DEADLINE = 60.0

RELEASE = "/srv/demo/v1"
APP = App("demo", RELEASE, ("./serve",), (), user="www-data", stop=StopSettings(timeout=1))
UP = '#!/bin/sh\necho noise\n[ "$DEPLOYD_INSTANCE:$MAINPID:$KEY:$(id -un):$PWD" = "$1" ] && exit 7\nexit 1\n'


def on(machine: Machine, work: Callable[[Transient, Systemd], Awaitable[None]]) -> None:
    async def within() -> None:
        async with connections(machine.bus_address, 1) as (bus,):
            systemd = Systemd(bus)
            await systemd.subscribe()
            await work(Transient(systemd), systemd)

    run(within(), DEADLINE)


def command(*argv: str, timeout: float = 30) -> Command:
    return Command(argv, "a test", "/", timeout=timeout, stop_timeout=0.2)


def test_probes_of_several_instances_at_once_leave_nothing(machine: Machine) -> None:
    machine.write(f"{RELEASE}/bin/up", UP, 0o755)
    machine.write("/srv/environment", "KEY=secret\n", 0o600)
    settings: ServiceSettings = {
        "User": ("s", "www-data"),
        "EnvironmentFiles": ("a(sb)", [["/srv/environment", False]]),
    }
    words = ("bin/up", "3:42:secret:www-data:/srv/demo/v1")

    async def ask(transient: Transient, number: int) -> Answer:
        asking = Command.of(
            APP, words, "a probe of instance", release=RELEASE, generation=1, settings=settings, timeout=10, quiet=True,
            environment={"DEPLOYD_INSTANCE": str(number), "MAINPID": "42"},
        )  # fmt: skip
        return await transient.ask("demo", number, asking, 7)

    async def work(transient: Transient, systemd: Systemd) -> None:
        for _ in range(5):
            said = await asyncio.gather(*(ask(transient, number) for number in (3, 3, 4)))
            assert said == [Answer(), Answer(), Answer("exited with status 1", wrong=True)]
        await asyncio.to_thread(machine.wait_for, lambda: _loaded(machine) == "")
        assert await systemd.list_units("demo:*") == []

    journal = UnitJournal(machine, "demo")
    on(machine, work)
    entries = list(journal.entries())
    assert not [entry for entry in entries if entry.get("SYSLOG_IDENTIFIER") == "demo"]
    assert not [entry for entry in journal.of_systemd() if "probe of instance" in entry["MESSAGE"]]


def test_a_command_survives_daemon_reload_and_daemon_reexec(machine: Machine) -> None:
    async def work(transient: Transient, systemd: Systemd) -> None:
        script = "echo $$ > /run/began; while [ ! -e /run/go ]; do sleep 0.05; done; exit 4"
        running = asyncio.ensure_future(transient.run("demo:a.service", command("/bin/sh", "-c", script)))
        for verb in ("daemon-reload", "daemon-reexec"):
            await asyncio.to_thread(machine.wait_for, lambda: machine.path("/run/began").exists())
            await asyncio.to_thread(machine.run, ["systemctl", verb])
        assert await transient.running("demo:a.service") == ["demo:a.service"]
        machine.write("/run/go", "")
        outcome = await running
        assert (outcome.exit_status, outcome.result) == (4, "exit-code")
        assert len(outcome.invocation_id) == 32

    on(machine, work)
    assert _loaded(machine) == ""


def test_a_cancelled_command_is_stopped_with_all_its_processes(machine: Machine) -> None:
    async def work(transient: Transient, systemd: Systemd) -> None:
        script = "trap '' TERM; sleep 1000 & echo $! > /run/child; wait"
        running = asyncio.ensure_future(transient.run("demo:b.service", command("/bin/sh", "-c", script)))
        await asyncio.to_thread(machine.wait_for, lambda: machine.path("/run/child").exists() and _child(machine))
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
        await asyncio.to_thread(machine.wait_for, lambda: _loaded(machine) == "")

    on(machine, work)
    assert machine.run(["kill", "-0", _child(machine)], check=False).returncode


def _child(machine: Machine) -> str:
    return machine.read("/run/child").strip()


def test_the_unit_of_a_dead_client_is_unloaded_when_it_ends(machine: Machine) -> None:
    async def begin(transient: Transient, systemd: Systemd) -> None:
        properties = command("/bin/sh", "-c", "while [ ! -e /run/end ]; do sleep 0.05; done; exit 1").properties()
        await systemd.start_transient("demo:c.service", properties)
        assert await transient.running("demo:*") == ["demo:c.service"]

    async def later(transient: Transient, systemd: Systemd) -> None:
        assert await transient.running("demo:*") == ["demo:c.service"]
        waiting = asyncio.ensure_future(transient.settle("demo:c.service"))
        machine.write("/run/end", "")
        await waiting
        assert await transient.running("demo:*") == []

    on(machine, begin)
    on(machine, later)
    machine.wait_for(lambda: _loaded(machine) == "", what="the end of the unit, failed or not")


def _loaded(machine: Machine) -> str:
    return machine.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", "demo:*"]).stdout
