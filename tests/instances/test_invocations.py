"""The reason of a failure is that of the invocation that failed, with what systemd says of it."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from unittest.mock import create_autospec

import pytest

from deployd.instances.invocations import MOST_RECORDED, Invocations
from deployd.model.failure import Failure, GateName
from deployd.model.instance import Instance, State
from deployd.model.remedies import IN_BACKGROUND, WITHOUT_READY
from deployd.state.history import History
from deployd.systemd import observe
from deployd.systemd.manager import Systemd
from deployd.systemd.notices import Account, Ended
from deployd.systemd.observe import ENDED_EARLY, NOT_READY, RESTARTED
from deployd.systemd.tail import Tail
from tests.state.four_rollouts import SETTINGS

FAILURE = Failure(GateName.NOTIFY, "instance 5 exited with status 3 before it was ready", instance=5, exit_status=3)
BOOTING = Instance(5, 2, State.STARTING, started=100.0, invocation_id="first")
FAILED = replace(BOOTING, state=State.FAILED, started=103.0, ran=3.0, detail="exited with status 3 before it was ready")
AGAIN = replace(BOOTING, invocation_id="second", started=104.0, restarts=1, detail=RESTARTED)
WORDS = Account(("no such table",))

Asked = tuple[str, str, float | None]


def failed_with(*seen: Instance, failure: Failure = FAILURE, account: Account = WORDS) -> tuple[Failure, list[Asked]]:
    asked: list[Asked] = []

    async def read(invocation_id: str, unit: str, since: float | None = None) -> Account:
        asked.append((invocation_id, unit, since))
        return account

    tail, history = create_autospec(Tail, instance=True), create_autospec(History, instance=True)
    tail.account.side_effect = read
    tail.before.return_value = "of the journal"
    history.settings.return_value = SETTINGS
    systemd = create_autospec(Systemd, instance=True)
    systemd.read.return_value = {"ExecStartPost": [["/bin/sh", ["/bin/sh", "-c", "exit 7"], False, 0, 0, 1, 7]]}
    invocations = Invocations("demo", history, tail, systemd)
    for item in seen:
        invocations.record((item,))
    return asyncio.run(invocations.with_journal(failure, seen[-1:])), asked


def test_a_failed_instance_gives_its_own_journal() -> None:
    failure, asked = failed_with(BOOTING, FAILED)
    assert failure == replace(FAILURE, journal=("no such table",))
    # systemd has set `started` to the time of the crash: the start was earlier by the time it ran.
    assert asked == [("first", "demo@5.service", 99.0)]


def test_the_journal_of_a_restarted_instance_is_that_of_the_invocation_before() -> None:
    _, asked = failed_with(BOOTING, FAILED, AGAIN)
    assert asked == [("first", "demo@5.service", None)]
    _, asked = failed_with(AGAIN)
    assert asked == [("of the journal", "demo@5.service", None)], "its first invocation was never seen"


def test_the_end_that_was_not_seen_is_taken_from_the_journal() -> None:
    unseen = replace(FAILURE, reason=f"instance 5 {RESTARTED}", exit_status=None)
    account = replace(WORDS, ended=Ended("ExecStart", 3, None))
    failure, _ = failed_with(BOOTING, AGAIN, failure=unseen, account=account)
    assert failure.reason == "instance 5 exited with status 3 and was restarted by systemd"
    assert (failure.exit_status, failure.signal) == (3, None)


def test_a_control_process_is_the_reason() -> None:
    other = "failed before it was ready: another command of its unit failed (see its journal)"
    item = replace(FAILED, detail=other)
    account = replace(WORDS, ended=Ended("ExecStartPost", 7, None))
    failure, _ = failed_with(item, failure=replace(FAILURE, reason=f"instance 5 {other}"), account=account)
    expected = "instance 5 failed before it was ready: ExecStartPost= (/bin/sh -c 'exit 7') exited with status 7"
    assert (failure.reason, failure.exit_status) == (expected, 7)


def test_without_ready_the_reason_says_what_to_set() -> None:
    item = replace(FAILED, detail=NOT_READY, ran=60.0)
    failure, _ = failed_with(item, failure=replace(FAILURE, reason=f"instance 5 {NOT_READY}"))
    assert failure.reason == f"instance 5 {NOT_READY}; {WITHOUT_READY}"
    assert 'type = "exec" and a probe' in failure.reason


def test_a_program_that_goes_to_the_background_is_told_to_stay() -> None:
    ended = {"Result": "success", "ExecMainCode": 1, "ExecMainStatus": 0, "ExecMainExitTimestampMonotonic": 1}
    assert observe.failure(ended) == ENDED_EARLY
    item = replace(FAILED, detail=ENDED_EARLY, ran=0.1)
    failure, _ = failed_with(item, failure=replace(FAILURE, reason=f"instance 5 {ENDED_EARLY}"))
    assert failure.reason == f"instance 5 {ENDED_EARLY}; {IN_BACKGROUND}"


def test_a_boot_lasts_until_the_probe_has_succeeded() -> None:
    history = create_autospec(History, instance=True)
    invocations = Invocations("demo", history, create_autospec(Tail), create_autospec(Systemd))
    ready = replace(BOOTING, state=State.READY, ready_since=100.5)
    probed = replace(ready, probed_since=175.0)
    for item in (BOOTING, ready, ready, probed, probed, ready):
        invocations.record((item,))
    assert [call.args[4] for call in history.saw.call_args_list] == [None, 0.5, 75.0]


@pytest.mark.parametrize("began", [150.0, math.inf])
def test_probes_of_later_are_no_part_of_the_boot(began: float) -> None:
    history = create_autospec(History, instance=True)
    ready = replace(BOOTING, state=State.READY, ready_since=100.5, probed_since=175.0, probed_from=began)
    Invocations("demo", history, create_autospec(Tail), create_autospec(Systemd)).record((ready,))
    assert [call.args[4] for call in history.saw.call_args_list] == [0.5]


def test_systemd_s_messages_and_the_remedy_complete_the_reason() -> None:
    address = SETTINGS.listen[0].address
    account = Account(("OSError: [Errno 98] Address already in use",), ("Failed to set up X: No such file",))
    failure, _ = failed_with(FAILED, account=account)
    assert failure.reason.startswith(f"{FAILURE.reason}: Failed to set up X: No such file; systemd holds {address} ")


@pytest.mark.parametrize(
    ("failure", "seen"),
    [
        (replace(FAILURE, instance=None), FAILED),
        (replace(FAILURE, instance=6), FAILED),
        (replace(FAILURE, journal=("known",)), FAILED),
        (FAILURE, replace(FAILED, invocation_id="")),
    ],
)
def test_the_journal_is_not_read_in_vain(failure: Failure, seen: Instance) -> None:
    assert failed_with(seen, failure=failure) == (failure, [])


def test_invocations_of_long_ago_are_forgotten() -> None:
    """Each rollout has new ones, for years."""
    history = create_autospec(History, instance=True)
    invocations = Invocations(
        "demo", history, create_autospec(Tail, instance=True), create_autospec(Systemd, instance=True)
    )
    for number in range(100):
        invocations.record((replace(BOOTING, invocation_id=f"id{number}"),))
    assert history.saw.call_count == 100
    assert len(invocations._recorded) <= 2 * MOST_RECORDED
    assert "id99" in invocations._recorded
