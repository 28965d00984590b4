"""Hooks: what they run with, what is reported of them, and what a failure contains."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployd.errors import Busy, Refused, SystemdError
from deployd.instances.commands import Commands
from deployd.model.app import App
from deployd.model.failure import Failure, GateName
from deployd.model.generation import Cause, Generation, Result
from deployd.model.pace import HookKind, HookSettings, Pace
from deployd.rollout.hook_runner import Change, HookRunner
from deployd.rollout.hooks import Hooks
from deployd.state.pins import Pins
from deployd.systemd.notices import Account
from deployd.systemd.proxy import UnitExists
from deployd.systemd.settings import ServiceSettings
from deployd.systemd.transient import Command, Outcome

GOOD = Outcome(0, None, False, "ab" * 16, 1.25)
BAD = Outcome(3, None, False, "cd" * 16, 1.0, "exit-code")
APP = App(
    "demo",
    "/srv/demo/current",
    ("./serve",),
    (),
    user="www-data",
    pace=Pace(
        hooks=HookSettings(before=(("./bin/migrate", "--to", "a b"), ("./bin/warm",)), after=(("notify",),), timeout=9)
    ),
)
CHANGE = Change(APP, 7, "/srv/demo/v7", Cause.ROLLOUT, 6, "/srv/demo/v6")
FIRST = Change(APP, 1, "/srv/demo/v1", Cause.APPLY)


class Transient:
    """Commands end with the given outcomes, one after the other."""

    def __init__(self, *outcomes: Outcome | Exception) -> None:
        self.outcomes = list(outcomes)
        self.ran: list[tuple[str, Command]] = []
        self.left: list[str] = []

    async def settle(self, unit: str) -> None:
        assert unit == "demo:hook.service"
        self.left.clear()

    async def run(self, unit: str, command: Command) -> Outcome:
        self.ran.append((unit, command))
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def running(self, pattern: str) -> list[str]:
        assert pattern == "demo:hook.service"
        return self.left


class Execution:
    """Has the same settings for every unit, and remembers its text."""

    def __init__(self) -> None:
        self.text = ""

    async def of_unit(self, app: str, text: str) -> ServiceSettings:
        self.text = text
        return {"User": ("s", "www-data")}


class Tail:
    async def account(self, invocation_id: str, unit: str, since: float) -> Account:
        assert (invocation_id, unit) == (BAD.invocation_id, "demo:hook.service")
        return Account(("migrating", "no such table"))


def hooks(transient: Transient, state: Path = Path("/var/lib/deployd"), execution: Execution | None = None) -> Hooks:
    runner = HookRunner(transient, Tail(), Commands(execution or Execution(), Pins(state)))  # type: ignore[arg-type]
    return Hooks(transient, runner)  # type: ignore[arg-type]


def run(transient: Transient, kind: HookKind, change: Change = CHANGE) -> tuple[Failure | None, list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    made = hooks(transient)
    failure = asyncio.run(made.run(kind, change, lambda event, fields: events.append({"event": event, **fields})))
    return failure, events


def test_hooks_run_one_after_the_other_with_their_environment() -> None:
    transient = Transient(GOOD, GOOD)
    failure, events = run(transient, HookKind.BEFORE)
    assert failure is None
    (unit, migrate), (again, warm) = transient.ran
    assert unit == again == "demo:hook.service"
    assert migrate.argv == ("/srv/demo/v7/bin/migrate", "--to", "a b")
    assert warm.argv == ("/srv/demo/v7/bin/warm",)
    assert (migrate.settings, migrate.directory, migrate.timeout) == ({"User": ("s", "www-data")}, "/srv/demo/v7", 9)
    assert migrate.environment == {
        "DEPLOYD_OLD_GENERATION": "6",
        "DEPLOYD_OLD_RELEASE": "/srv/demo/v6",
        "DEPLOYD_CAUSE": "rollout",
        "DEPLOYD_HOOK": "before",
    }
    common = {"event": "hook", "hook": "before", "from": 6, "to": 7, "generation": 7, "journal": []}
    shown = [(item["command"], item["state"], item["exit_status"]) for item in events]
    assert shown == [
        ("./bin/migrate --to 'a b'", "started", None),
        ("./bin/migrate --to 'a b'", "succeeded", 0),
        ("./bin/warm", "started", None),
        ("./bin/warm", "succeeded", 0),
    ]
    assert all(common.items() <= item.items() for item in events)


def test_hooks_run_with_the_settings_of_their_generation() -> None:
    execution = Execution()
    made = hooks(Transient(GOOD, GOOD), execution=execution)
    asyncio.run(made.run(HookKind.BEFORE, CHANGE, lambda event, fields: None))
    assert "\nUser=www-data\n" in execution.text
    assert "\nEnvironmentFile=/var/lib/deployd/apps/demo/generations/7/environment\n" in execution.text
    assert not {"Sockets", "WorkingDirectory"} & {line.split("=")[0] for line in execution.text.split()}


def test_hooks_of_a_first_deployment_get_no_old_generation() -> None:
    transient = Transient(GOOD)
    run(transient, HookKind.AFTER, FIRST)
    ((_, command),) = transient.ran
    assert command.argv == ("/srv/demo/v1/notify",)
    assert command.environment["DEPLOYD_OLD_GENERATION"] == command.environment["DEPLOYD_OLD_RELEASE"] == ""
    assert (command.environment["DEPLOYD_CAUSE"], command.environment["DEPLOYD_HOOK"]) == ("apply", "after")


def test_no_hook_runs_after_one_that_failed() -> None:
    transient = Transient(BAD)
    failure, events = run(transient, HookKind.BEFORE)
    assert failure == Failure(
        gate=GateName.HOOK,
        reason="before hook ./bin/migrate --to 'a b' exited with status 3",
        waited_for="./bin/migrate --to 'a b' to exit with status 0",
        waited=1.0,
        exit_status=3,
        journal=("migrating", "no such table"),
    )
    last = events[-1]
    assert (last["state"], last["exit_status"], last["reason"]) == ("failed", 3, failure.reason)
    assert last["journal"] == ["migrating", "no such table"]


def test_a_hook_that_is_still_running_is_not_started_twice() -> None:
    transient = Transient(UnitExists("was already loaded"))
    failure, events = run(transient, HookKind.AFTER)
    assert failure is not None
    assert failure.reason.startswith("a hook of an earlier rollout of demo is still running (demo:hook.service)")
    assert (events[-1]["state"], events[-1]["reason"]) == ("failed", failure.reason)
    transient.left = ["demo:hook.service"]
    with pytest.raises(Refused, match=r"systemctl stop demo:hook\.service"):
        before(transient)
    assert len(transient.ran) == 1


def before(transient: Transient, change: Change = CHANGE) -> bool:
    return asyncio.run(hooks(transient).before(change, lambda *_: None))


def test_a_failed_before_hook_refuses_the_rollout_with_its_last_lines() -> None:
    with pytest.raises(Refused) as raised:
        before(Transient(GOOD, BAD))
    assert [str(raised.value), *raised.value.lines] == [
        "before hook ./bin/warm exited with status 3: the rollout of demo is refused, nothing has changed",
        "migrating",
        "no such table",
    ]


@pytest.mark.parametrize("cause", Cause)
def test_hooks_run_for_causes_that_bring_a_release(cause: Cause) -> None:
    transient = Transient(GOOD, GOOD)
    new = cause not in (Cause.RESTART, Cause.RESTART_PROCESS, Cause.SCALE)
    assert before(transient, replace(CHANGE, cause=cause)) is new
    assert bool(transient.ran) is new
    nothing = replace(CHANGE, app=replace(APP, pace=Pace()), cause=cause)
    assert before(Transient(), nothing) is False


def test_other_requests_are_refused_while_one_waits_for_hooks() -> None:
    made = hooks(Transient())
    with (
        made.ahead(APP, Cause.APPLY),
        pytest.raises(Busy, match=r"as soon as the last of its before hooks has ended; wait for it, or"),
    ):
        made.refuse_if_ahead("demo")
    made.refuse_if_ahead("demo")
    for app, cause in ((APP, Cause.SCALE), (replace(APP, pace=Pace()), Cause.APPLY)):
        with made.ahead(app, cause):
            made.refuse_if_ahead("demo")


def test_an_error_of_systemd_is_raised_and_reported() -> None:
    events: list[str] = []
    with pytest.raises(SystemdError, match="no reply"):
        asyncio.run(
            hooks(Transient(SystemdError("no reply"))).run(
                HookKind.BEFORE, CHANGE, lambda _, fields: events.append(fields["state"])
            )
        )
    assert events == ["started", "failed"]


def test_after_hooks_never_raise_and_await_a_hook_left_running() -> None:
    async def after(transient: Transient, change: Change = CHANGE) -> Failure | None:
        return await hooks(transient).after(change, lambda *_: None)

    transient = Transient(GOOD)
    transient.left = ["demo:hook.service"]
    assert asyncio.run(after(transient)) is None
    assert not transient.left
    failure = asyncio.run(after(Transient(BAD)))
    assert failure is not None
    assert failure.reason == "after hook notify exited with status 3"
    failure = asyncio.run(after(Transient(SystemdError("no reply"))))
    assert failure is not None
    assert failure.reason == "the after hooks of demo could not be run: no reply"
    for change in (replace(CHANGE, cause=Cause.SCALE), replace(CHANGE, app=replace(APP, pace=Pace()))):
        assert asyncio.run(after(Transient(), change)) is None


def test_a_stopped_hook_is_reported_as_failed() -> None:
    class Endless(Transient):
        async def run(self, unit: str, command: Command) -> Outcome:
            await asyncio.Event().wait()
            raise AssertionError

    async def work() -> None:
        task = asyncio.ensure_future(hooks(Endless()).after(CHANGE, lambda _, fields: events.append(fields["state"])))
        while not events:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    events: list[str] = []
    asyncio.run(work())
    assert events == ["started", "failed"]


def test_before_hooks_are_refused_while_an_after_hook_runs() -> None:
    class Endless(Transient):
        async def run(self, unit: str, command: Command) -> Outcome:
            self.left = [unit]
            await asyncio.Event().wait()
            raise AssertionError

    async def work() -> None:
        made = hooks(Endless())
        after = asyncio.ensure_future(made.after(CHANGE, lambda *_: None))
        while "demo" not in made._running:
            await asyncio.sleep(0)
        with pytest.raises(
            Busy, match=r"after hook notify of demo is still running; .*systemctl stop demo:hook\.service"
        ):
            await made.before(CHANGE, lambda *_: None)
        without = replace(CHANGE, app=replace(APP, pace=Pace()))
        assert await made.before(without, lambda *_: None) is False
        after.cancel()
        await asyncio.wait([after])

    asyncio.run(work())


def test_a_change_is_made_from_a_generation() -> None:
    generation = Generation(
        "demo", 7, "/srv/demo/v7", "", Cause.ROLLOUT, Result.RUNNING, "", 0.0, origin=6, settings=APP
    )
    assert Change.of(generation, {6: "/srv/demo/v6", 7: "/srv/demo/v7"}) == CHANGE
    first = replace(generation, number=1, release="/srv/demo/v1", cause=Cause.APPLY, origin=None)
    assert Change.of(first, {1: "/srv/demo/v1"}) == FIRST


def test_the_running_hook_is_named_in_refusals() -> None:
    class Waiting(Transient):
        async def run(self, unit: str, command: Command) -> Outcome:
            with pytest.raises(Busy) as raised:
                made.refuse_if_ahead("demo")
            seen.append(str(raised.value))
            return GOOD

    seen: list[str] = []
    made = hooks(Waiting())
    with made.ahead(APP, Cause.ROLLBACK):
        assert asyncio.run(made.run(HookKind.BEFORE, CHANGE, lambda *_: None)) is None
    assert [text.partition("as soon as ")[2].partition(" has ended")[0] for text in seen] == [
        "before hook ./bin/migrate --to 'a b'",
        "before hook ./bin/warm",
    ]
