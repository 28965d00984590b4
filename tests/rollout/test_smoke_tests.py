"""[gate] smoke: which tests run, what is reported of them, and what a failure leads to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from deployd.errors import SystemdError
from deployd.model.app import App
from deployd.model.failure import GateName
from deployd.model.gate import Gate
from deployd.model.generation import Cause, Generation, Result
from deployd.model.rollout import Hold, Pause, Phase, Rollout
from deployd.rollout.active import ActiveRollout
from deployd.rollout.smoke_tests import SmokeTests
from deployd.systemd.notices import Account
from deployd.systemd.proxy import UnitExists
from deployd.systemd.transient import Outcome
from tests.rollout.commands_of_demo import CommandsOfDemo

UNIT = "demo:smoke.service"
GOOD = Outcome(0, None, False, "ab" * 16, 0.25)
BAD = Outcome(3, None, False, "cd" * 16, 1.0, "exit-code")
LATE = Outcome(None, "SIGTERM", True, "cd" * 16, 7.0, "timeout")
PRIVATE = Hold(1, canary=True, share=0.0, preview=True, address=True, smoke=True)
GATE = Gate(smoke=(("./bin/smoke", "a b"), ("./bin/more",)), smoke_timeout=7.0)


def active(hold: Hold = PRIVATE, gate: Gate = GATE, **rollout: Any) -> ActiveRollout:
    app = App("demo", "/srv/demo/current", ("./serve",), (), user="www-data", gate=gate)
    target = Generation("demo", 7, "/srv/demo/v7", "", Cause.ROLLOUT, Result.RUNNING, "", 0.0, origin=6, settings=app)
    return ActiveRollout(Rollout("demo", 6, 7, holds=(hold,), passed=frozenset({5}), **rollout), target)


class Site(CommandsOfDemo):
    """The smoke tests of demo, with a transient whose commands have the given outcomes."""

    def __init__(self, *outcomes: Outcome | Exception) -> None:
        super().__init__(UNIT, *outcomes)
        self.reported: list[tuple[str, str]] = []
        self.woken = asyncio.Event()
        self.tests = SmokeTests(
            "demo",
            self,  # type: ignore[arg-type]
            self.commands,
            self,  # type: ignore[arg-type]
            wake=self.woken.set,
            emit=lambda _, fields: self.reported.append((fields["command"], fields["state"])),
        )

    async def account(self, invocation_id: str, unit: str, since: float | None = None) -> Account:
        assert (invocation_id, unit) == (BAD.invocation_id, UNIT)
        assert since is not None
        return Account(("GET /login answered 500",))


def with_site(test: Callable[[Site], Awaitable[None]], *outcomes: Outcome | Exception) -> None:
    async def work() -> None:
        async with asyncio.timeout(10):
            await test(Site(*outcomes))

    asyncio.run(work())


def test_all_tests_run_once_in_order() -> None:
    async def test(site: Site) -> None:
        rollout = active()
        assert not site.tests.passed(rollout, 5)
        await site.woken.wait()
        assert site.tests.update(rollout) is None
        for _ in range(3):
            assert site.tests.passed(rollout, 5)
        assert [command.argv for command in site.ran] == [
            ("/srv/demo/v7/bin/smoke", "a b"),
            ("/srv/demo/v7/bin/more",),
        ]
        assert [command.timeout for command in site.ran] == [7.0, 7.0]
        environment = site.ran[0].environment
        assert (environment["DEPLOYD_INSTANCE"], environment["DEPLOYD_PREVIEW"]) == (
            "5",
            "/run/deployd/preview/demo.sock",
        )
        one, other = "./bin/smoke 'a b'", "./bin/more"
        assert site.reported == [(one, "started"), (one, "succeeded"), (other, "started"), (other, "succeeded")]

    with_site(test, GOOD, GOOD)


def test_a_failure_is_the_last() -> None:
    async def test(site: Site) -> None:
        rollout = active()
        assert not site.tests.passed(rollout, 5)
        await site.woken.wait()
        failure = site.tests.update(rollout)
        assert failure is not None
        assert (failure.gate, failure.exit_status, failure.waited) == (GateName.SMOKE, 3, 1.0)
        assert failure.reason == "smoke test ./bin/smoke 'a b' of instance 5 exited with status 3"
        assert failure.waited_for == "./bin/smoke 'a b' to exit with status 0"
        assert failure.journal == ("GET /login answered 500",)
        assert not site.tests.passed(rollout, 5)
        assert len(site.ran) == 1

    with_site(test, BAD)


def test_a_test_that_hangs_says_how_long_it_had() -> None:
    async def test(site: Site) -> None:
        rollout = active()
        site.tests.passed(rollout, 5)
        await site.woken.wait()
        failure = site.tests.update(rollout)
        assert failure is not None
        assert failure.reason == "smoke test ./bin/smoke 'a b' of instance 5 did not end within 7 s"

    with_site(test, LATE)


def test_tests_that_cannot_be_run_fail() -> None:
    async def test(site: Site) -> None:
        rollout = active()
        site.tests.passed(rollout, 5)
        await site.woken.wait()
        failure = site.tests.update(rollout)
        assert failure is not None
        assert failure.reason.endswith("of instance 5 could not be run: systemd refused StartTransientUnit")

    with_site(test, SystemdError("systemd refused StartTransientUnit"))


def test_what_an_earlier_daemon_left_is_waited_for() -> None:
    async def test(site: Site) -> None:
        rollout = active(gate=replace(GATE, smoke=(("./bin/smoke",),)))
        site.tests.passed(rollout, 5)
        await site.woken.wait()
        assert site.tests.passed(rollout, 5)
        assert site.settled == [UNIT]

    with_site(test, UnitExists("it exists"), GOOD)


def test_tests_stop_with_their_rollout_and_run_again_later() -> None:
    async def test(site: Site) -> None:
        rollout = active()
        for gone in (None, active(), rollout):
            site.tests.passed(rollout, 5)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if gone is rollout:
                rollout.rollout = replace(rollout.rollout, phase=Phase.PAUSED, pause=Pause.REQUESTED)
            site.tests.update(gone)
            await asyncio.sleep(0)
        assert site.stopped == len(site.ran) == 3

    with_site(test)


def test_without_tests_nothing_runs_and_shared_instances_have_no_address() -> None:
    async def test(site: Site) -> None:
        assert site.tests.passed(active(gate=Gate()), 5)
        assert not site.ran
        site.tests.passed(active(Hold(1, canary=True, smoke=True)), 5)
        await site.woken.wait()
        assert all("DEPLOYD_PREVIEW" not in command.environment for command in site.ran)

    with_site(test, GOOD, GOOD)
