"""What is reported of an instance that did not end as it was asked to."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import create_autospec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.instances.stops import Stops, stop_problem
from deployd.systemd.manager import Systemd
from deployd.systemd.notices import Account, Ended
from deployd.systemd.tail import Tail

PYTHON = ("/usr/bin/python3", "app.py")
TIMEOUT = {"Result": "timeout", "TimeoutStopUSec": 30_000_000, "KillSignal": 15, "ExecMainCode": 2, "ExecMainStatus": 9}
KILLED = {"Result": "signal", "ExecMainCode": 2, "ExecMainStatus": 9}
BY_SIGTERM = {"Result": "success", "ExecMainCode": 2, "ExecMainStatus": 15}
NO_END = "did not end within 30 s after SIGTERM and was killed; "


@pytest.mark.parametrize(
    ("properties", "account", "program", "expected"),
    [
        (BY_SIGTERM, Account(), PYTHON, ""),
        (TIMEOUT, Account(killed=("python3",)), PYTHON, NO_END + "raise [stop] timeout"),
        (TIMEOUT, Account(killed=("uwsgi",)), ("bin/start",), NO_END + "uWSGI takes SIGTERM for a reload"),
        (TIMEOUT, Account(), ("/usr/sbin/php-fpm8.2",), NO_END + "php-fpm finishes requests after SIGQUIT"),
        (TIMEOUT, Account(), ("/usr/sbin/haproxy",), NO_END + "HAProxy finishes requests after SIGUSR1"),
        (
            {**TIMEOUT, "KillSignal": 3},
            Account(),
            ("nginx",),
            "did not end within 30 s after SIGQUIT and was killed; raise",
        ),
        (KILLED, Account(), PYTHON, "was killed by SIGKILL while it was stopping"),
        ({"Result": "oom-kill"}, Account(), PYTHON, "ran out of memory while it was stopping"),
        (
            BY_SIGTERM,
            Account(killed=("python3", "python3")),
            ("bin/start",),
            "ended with its main process, and its other processes (python3) were killed; let the program",
        ),
        (
            {"Result": "exit-code", "ExecMainCode": 1, "ExecMainStatus": 0},
            Account(ended=Ended("ExecStop", 1, None)),
            PYTHON,
            "was stopped, but ExecStop= exited with status 1",
        ),
        ({"Result": "exit-code", "ExecMainCode": 1, "ExecMainStatus": 143}, Account(), PYTHON, ""),
    ],
)
def test_problems(properties: dict[str, Any], account: Account, program: tuple[str, ...], expected: str) -> None:
    found = stop_problem(properties, account, program)
    assert found.startswith(expected)
    assert bool(found) == bool(expected)


@given(
    st.sampled_from(["timeout", "signal", "exit-code", "success", "a result of the future", None]),
    st.integers(-1, 2**31),
    st.lists(st.text()),
)
def test_any_properties(result: str | None, number: int, program: list[str]) -> None:
    seen = {"Result": result, "ExecMainCode": 2, "ExecMainStatus": number, "KillSignal": number}
    assert isinstance(stop_problem(seen, Account(), program), str)


def test_the_journal_is_not_read_of_a_process_that_has_exited() -> None:
    systemd, tail = create_autospec(Systemd, instance=True), create_autospec(Tail, instance=True)
    systemd.properties.return_value = {"Result": "success", "ExecMainCode": 1, "ExecMainStatus": 0}
    assert asyncio.run(Stops(systemd, tail).problem("demo@1.service", "ab", PYTHON)) == ""
    tail.account.assert_not_called()
    systemd.properties.return_value = BY_SIGTERM
    systemd.read.return_value = {"TimeoutStopUSec": 1, "KillSignal": 15}
    tail.account.return_value = Account(killed=("python3",))
    assert asyncio.run(Stops(systemd, tail).problem("demo@1.service", "ab", PYTHON)).startswith("ended with its main")
