"""What systemd's own messages say of a failure, as systemd 252 and 257 write them, and who may have written them."""

from __future__ import annotations

from typing import Any

import pytest

from deployd.model.scope import of_user
from deployd.systemd.notices import (
    PROCESS_EXIT,
    SPAWN_FAILED,
    STARTING,
    STOPPED,
    Account,
    Ended,
    Notice,
    account,
    notice,
)

UNIT = "shop@1.service"
CHILD = {"_PID": 46, "_UID": 0, "_COMM": "(sleep)", "UNIT": UNIT, "PRIORITY": 3}


def exited(command: str, code: str, status: int) -> Notice:
    return Notice("Main process exited", PROCESS_EXIT, 5, command, code, status)


@pytest.mark.parametrize(
    ("notices", "expected"),
    [
        ([], Account()),
        (
            [exited("ExecStartPost", "exited", 7), exited("ExecStart", "exited", 0)],
            Account(ended=Ended("ExecStartPost", 7, None)),
        ),
        ([exited("ExecStart", "dumped", 11)], Account(ended=Ended("ExecStart", None, "SIGSEGV"))),
        ([exited("ExecStart", "killed", 63)], Account(ended=Ended("ExecStart", None, "signal 63"))),
        (
            [
                Notice("Failed to determine user credentials: No such process", "", 3),
                Notice("Failed at step USER spawning /bin/sh: No such process", SPAWN_FAILED, 3),
                Notice("Failed with result 'exit-code'.", "d9b373ed55a64feb8242e02dbe79a49c", 4),
            ],
            Account(said=("Failed to determine user credentials: No such process",)),
        ),
        (
            [Notice("Failed at step EXEC spawning /nope: No such file or directory", SPAWN_FAILED, 3)],
            Account(said=("Failed at step EXEC spawning /nope: No such file or directory",)),
        ),
        (
            [
                Notice("Got notification message from PID 41, but reception only permitted for main PID 39", "", 4),
                Notice("start operation timed out. Terminating.", "", 4),
            ],
            Account(said=("Got notification message from PID 41, but reception only permitted for main PID 39",)),
        ),
        (
            [
                Notice("Ignoring invalid environment assignment 'export KEY=secret': /etc/default/shop", "", 3),
                Notice("Ignoring invalid environment assignment 'MIIEsecret==': /etc/default/shop", "", 3),
            ],
            Account(
                said=(
                    'Ignoring invalid environment assignment ("export" is not part of the syntax): /etc/default/shop',
                    "Ignoring invalid environment assignment: /etc/default/shop",
                )
            ),
        ),
        (
            [
                Notice("Killing process 60 (sh) with signal SIGKILL.", "", 5),
                Notice("Killing process 53 (x (y)) with signal SIGKILL.", "", 5),
                Notice("Killing process 54 (sleep) with signal SIGABRT.", "", 5),
            ],
            Account(killed=("sh", "x (y)")),
        ),
        ([Notice("Starting shop@1.service...", STARTING)], Account(stop_requested=False)),
        ([Notice("", STARTING), Notice("", STOPPED, job_type="stop")], Account(stop_requested=True)),
        ([Notice("", STARTING), Notice("", STOPPED, job_type="restart")], Account(stop_requested=False)),
    ],
)
def test_what_the_messages_say(notices: list[Notice], expected: Account) -> None:
    assert account(notices) == expected


@pytest.mark.parametrize(
    ("entry", "believed"),
    [
        ({"_PID": 1}, True),
        (CHILD, True),
        ({**CHILD, "_UID": 1000}, False),
        ({**CHILD, "_COMM": "sleep"}, False),
        ({**CHILD, "_UID": 1000, "MESSAGE_ID": SPAWN_FAILED, "_SYSTEMD_UNIT": UNIT}, True),
        ({**CHILD, "_UID": 1000, "MESSAGE_ID": SPAWN_FAILED, "_SYSTEMD_UNIT": "other.service"}, False),
        ({"_PID": 4711, "_UID": 0, "INVOCATION_ID": "ab"}, False),
        ({}, False),
    ],
)
def test_only_systemd_is_believed(entry: dict[str, Any], believed: bool) -> None:
    assert (notice({**entry, "MESSAGE": "x"}, UNIT) is not None) == believed


def test_the_fields_of_an_entry() -> None:
    entry = {"_PID": 1, "MESSAGE": f"{UNIT}: gone: now", "PRIORITY": "4", "EXIT_STATUS": b"\xff", "COMMAND": None}
    assert notice(entry, UNIT) == Notice("gone: now", priority=4)


@pytest.mark.parametrize(
    ("entry", "believed"),
    [
        ({"_SYSTEMD_USER_UNIT": "init.scope", "_UID": 1000, "_PID": 40}, True),
        ({"_SYSTEMD_USER_UNIT": "init.scope", "_UID": 1001, "_PID": 40}, False),
        ({"_PID": 1, "UNIT": UNIT}, False),
        ({"_UID": 1000, "_COMM": "(sleep)", "USER_UNIT": UNIT}, True),
        ({"_UID": 1001, "_COMM": "(sleep)", "USER_UNIT": UNIT}, False),
        ({"_SYSTEMD_USER_UNIT": UNIT, "_UID": 1000, "MESSAGE_ID": SPAWN_FAILED}, True),
        ({"_SYSTEMD_USER_UNIT": "other.service", "_UID": 1000, "MESSAGE_ID": SPAWN_FAILED}, False),
    ],
)
def test_in_user_mode_the_user_manager_is_believed(entry: dict[str, Any], believed: bool) -> None:
    names = of_user(1000, "/people/dora", {}).journal
    assert (notice({"MESSAGE": "no", **entry}, UNIT, names) is not None) is believed
