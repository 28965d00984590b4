"""Commands as transient units: their properties, and the meaning of systemd's answers. With a fake manager."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from deployd.errors import SystemdError
from deployd.model.app import App, StopSettings
from deployd.model.gate import Answer
from deployd.systemd.proxy import UnitExists
from deployd.systemd.transient import Command, Outcome, Transient

Properties = Mapping[str, tuple[str, Any]]

EXITED, KILLED = 1, 2


class Manager:
    """The part of `Systemd` that commands use. `jobs` are the results of a unit's jobs, one after another."""

    def __init__(self) -> None:
        self.jobs: list[str] = ["done"]
        self.state = "inactive"
        self.ended: dict[str, Any] = {"Result": "success", "ExecMainCode": EXITED, "ExecMainStatus": 0}
        self.started: list[tuple[str, Properties]] = []
        self.calls: list[tuple[str, str]] = []
        self.refuse: Exception | None = None
        self.loaded: list[str] = []

    async def start_transient(
        self, unit: str, properties: Properties, descriptors: Sequence[int] = ()
    ) -> asyncio.Future[str]:
        self.descriptors = tuple(descriptors)
        self.started.append((unit, properties))
        if self.refuse is not None:
            raise self.refuse
        job = await self.job(unit)
        assert job is not None
        return job

    async def job(self, unit: str) -> asyncio.Future[str] | None:
        if not self.jobs:
            return None
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        result = self.jobs.pop(0)
        if result != "never":
            future.set_result(result)
        return future

    async def read(self, unit: str, interface: str, names: list[str]) -> dict[str, Any]:
        known = {"ActiveState": self.state, "InvocationID": [0xAB] * 16, **self.ended}
        return {name: known[name] for name in names}

    async def stop(self, unit: str) -> asyncio.Future[str]:
        self.calls.append(("stop", unit))
        raise SystemdError("not loaded")

    async def release(self, unit: str) -> None:
        self.calls.append(("release", unit))

    async def list_units(self, pattern: str) -> list[str]:
        return self.loaded


def transient(manager: Manager) -> Transient:
    return Transient(manager)  # type: ignore[arg-type]


UNIT = "demo:hook.service"
COMMAND = Command(("/bin/true",), "demo: a test", "/srv/demo", timeout=60, identifier="demo")
APP = App(
    name="demo",
    release="/srv/demo/current",
    exec=("./serve",),
    listen=(),
    stop=StopSettings(timeout=7),
)
SETTINGS: Properties = {
    "User": ("s", "www-data"),
    "Environment": ("as", ["A=0", "B=0"]),
    "EnvironmentFiles": ("a(sb)", [["/var/x/environment", False]]),
    "TimeoutStopUSec": ("t", 1),
    "SetCredential": ("a(say)", [["token", b"x"]]),
}


def of(app: App, *argv: str, **options: Any) -> Properties:
    known: dict[str, Any] = {
        "release": "/srv/demo/v2",
        "generation": 7,
        "settings": SETTINGS,
        "timeout": 60.0,
    }
    return Command.of(app, argv, "demo: a test", **known, environment={"A": "1"}, **options).properties()


def test_a_command_has_the_settings_of_the_instances() -> None:
    properties = of(APP, "./bin/migrate", "--all")
    assert properties["ExecStart"] == (
        "a(sasb)",
        [["/srv/demo/v2/bin/migrate", ["/srv/demo/v2/bin/migrate", "--all"], False]],
    )
    assert properties["WorkingDirectory"] == ("s", "/srv/demo/v2")
    assert properties["User"] == ("s", "www-data")
    assert properties["Environment"] == ("as", ["B=0", "A=1"])
    assert properties["EnvironmentFiles"] == SETTINGS["EnvironmentFiles"]
    assert properties["RuntimeDirectoryPreserve"] == ("s", "yes")
    assert properties["LogExtraFields"] == ("aay", [b"DEPLOYD_APP=demo", b"DEPLOYD_GENERATION=7"])
    assert properties["SyslogIdentifier"] == ("s", "demo")
    assert properties["TimeoutStartUSec"] == ("t", 60_000_000)
    assert properties["TimeoutStopUSec"] == ("t", 7_000_000)
    assert not {"LogLevelMax", "StandardOutput", "StandardError"} & properties.keys()


def test_nothing_in_a_command_is_expanded() -> None:
    argv = of(APP, "/bin/$HOME", "$A", "${A}", "$$", "%i")["ExecStart"][1][0]
    assert argv == ["/bin/$HOME", ["/bin/$$HOME", "$$A", "$${A}", "$$$$", "%i"], False]


def test_standard_streams_are_descriptors_a_terminal_or_a_file() -> None:
    manager = Manager()
    command = replace(COMMAND, standard=(7, 7, 9), timeout=math.inf)
    asyncio.run(transient(manager).run(UNIT, command))
    assert manager.descriptors == (7, 7, 9)
    properties = command.properties()
    found = [properties[f"Standard{name}FileDescriptor"] for name in ("Input", "Output", "Error")]
    assert found == [("h", 0), ("h", 1), ("h", 2)]
    assert properties["TimeoutStartUSec"] == ("t", 2**64 - 1)
    properties = replace(COMMAND, terminal="/dev/pts/3").properties()
    assert (properties["TTYPath"], properties["StandardError"]) == (("s", "/dev/pts/3"), ("s", "tty"))
    assert replace(COMMAND, stdin="/run/x").properties()["StandardInputFile"] == ("s", "/run/x")


def test_lists_are_added_to_those_of_the_instances() -> None:
    extra: Properties = {"SetCredential": ("a(say)", [["compare", b"{}"]]), "LogLevelMax": ("i", 5)}
    command = Command(("/bin/true",), "a test", "/", timeout=1, settings=SETTINGS, extra=extra).properties()
    assert command["SetCredential"] == ("a(say)", [["token", b"x"], ["compare", b"{}"]])
    assert command["LogLevelMax"] == ("i", 5)


@pytest.mark.parametrize(
    ("ended", "outcome", "sentence"),
    [
        ({}, Outcome(0, None, False, "", 0), "exited with status 0"),
        (
            {"Result": "exit-code", "ExecMainStatus": 3},
            Outcome(3, None, False, "", 0, "exit-code"),
            "exited with status 3",
        ),
        (
            {"Result": "exit-code", "ExecMainStatus": 203},
            Outcome(203, None, False, "", 0, "exit-code"),
            "was not run: it cannot be executed (status 203)",
        ),
        (
            {"Result": "signal", "ExecMainCode": KILLED, "ExecMainStatus": 11},
            Outcome(None, "SIGSEGV", False, "", 0, "signal"),
            "was killed by SIGSEGV",
        ),
        (
            {"Result": "timeout", "ExecMainCode": KILLED, "ExecMainStatus": 15},
            Outcome(None, "SIGTERM", True, "", 60, "timeout"),
            "did not end within 60 s",
        ),
        (
            # It exited on SIGTERM, but only after its time-out.
            {"Result": "timeout"},
            Outcome(0, None, True, "", 60, "timeout"),
            "did not end within 60 s",
        ),
        (
            {"Result": "oom-kill", "ExecMainCode": KILLED, "ExecMainStatus": 9},
            Outcome(None, "SIGKILL", False, "", 0, "oom-kill"),
            "ran out of memory",
        ),
        (
            {"Result": "resources", "ExecMainCode": 0},
            Outcome(None, None, False, "", 0, "resources"),
            "could not be started (resources): systemd lacked a file or resources, see its journal",
        ),
    ],
)
def test_results_of_commands(ended: dict[str, Any], outcome: Outcome, sentence: str) -> None:
    manager = Manager()
    manager.ended |= ended
    seen = asyncio.run(transient(manager).run(UNIT, COMMAND))
    assert (seen.exit_status, seen.signal, seen.timed_out) == (outcome.exit_status, outcome.signal, outcome.timed_out)
    assert (seen.result, seen.invocation_id) == (outcome.result if ended else "success", "ab" * 16)
    assert seen.succeeded is (not ended)
    assert str(seen) == sentence
    assert manager.calls == [("release", UNIT)]


def test_a_time_limit_below_a_second_is_shown() -> None:
    assert str(Outcome(None, "SIGTERM", True, "", 0.5, "timeout")) == "did not end within 0.5 s"


def test_jobs_are_awaited_to_the_last() -> None:
    """A daemon-reexec makes the result unknown; systemctl stop replaces the start job."""
    manager = Manager()
    manager.jobs = ["unknown", "canceled", "done"]
    assert asyncio.run(transient(manager).run(UNIT, COMMAND)).succeeded
    assert manager.jobs == []


def test_the_missed_end_of_a_job_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployd.systemd.transient.JOB_MARGIN", 0.01)
    hasty = Command(("/bin/true",), "", "/", timeout=0.01, stop_timeout=0)
    manager = Manager()
    manager.jobs = ["never"]
    assert asyncio.run(transient(manager).run(UNIT, hasty)).succeeded
    manager.jobs, manager.state = ["never"], "activating"
    assert asyncio.run(transient(manager).run(UNIT, hasty)).timed_out
    assert ("stop", UNIT) in manager.calls


def test_a_cancelled_command_is_stopped() -> None:
    async def work(manager: Manager) -> None:
        task = asyncio.ensure_future(transient(manager).run(UNIT, COMMAND))
        while not manager.started:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    manager = Manager()
    manager.jobs = ["never"]
    asyncio.run(work(manager))
    assert manager.calls == [("stop", UNIT), ("release", UNIT)]


def test_a_unit_that_exists_already_is_left_alone() -> None:
    manager = Manager()
    manager.refuse = UnitExists("Unit demo:hook.service was already loaded")
    with pytest.raises(UnitExists):
        asyncio.run(transient(manager).run(UNIT, COMMAND))
    assert manager.calls == []


def test_a_command_whose_start_is_unknown_is_stopped() -> None:
    manager = Manager()
    manager.refuse = SystemdError("no reply within 30 s")
    with pytest.raises(SystemdError, match="no reply"):
        asyncio.run(transient(manager).run(UNIT, COMMAND))
    assert manager.calls == [("stop", UNIT), ("release", UNIT)]


@pytest.mark.parametrize(("state", "running"), [("activating", [UNIT]), ("inactive", []), ("failed", [])])
def test_a_loaded_unit_may_have_ended(state: str, running: list[str]) -> None:
    manager = Manager()
    manager.loaded, manager.state = [UNIT], state
    assert asyncio.run(transient(manager).running(UNIT)) == running


def test_a_unit_of_an_earlier_daemon_is_awaited() -> None:
    manager = Manager()
    manager.jobs = ["unknown", "done"]
    asyncio.run(transient(manager).settle(UNIT))
    assert manager.jobs == []
    assert manager.calls == []


@pytest.mark.parametrize(
    ("status", "expect", "said"),
    [
        (0, 0, ""),
        (4, 4, ""),
        (1, 0, "exited with status 1"),
        (0, 4, "exited with status 0"),
        (75, 0, "exited with status 75"),
    ],
)
def test_a_probe_succeeds_with_the_expected_status(status: int, expect: int, said: str) -> None:
    manager = Manager()
    manager.ended |= {"ExecMainStatus": status, "Result": "exit-code" if status else "success"}

    async def ask(asker: Transient) -> list[Answer]:
        first = await asker.ask("demo", 3, COMMAND, expect)
        manager.jobs = ["done"]
        return [first, await asker.ask("demo", 3, COMMAND, expect)]

    assert asyncio.run(ask(transient(manager))) == [Answer(said, wrong=bool(said) and status != os.EX_TEMPFAIL)] * 2
    (first, _), (second, _) = manager.started
    assert first != second, "the one before may not have been forgotten yet"
    assert first.startswith("demo:probe-3-")


def test_a_probe_that_times_out_fails_whatever_its_status() -> None:
    manager = Manager()
    manager.ended |= {"Result": "timeout"}
    said = asyncio.run(transient(manager).ask("demo", 3, COMMAND, 0))
    assert said == Answer("did not end within 60 s")
