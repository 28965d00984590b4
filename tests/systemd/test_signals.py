"""Names of signals, and whether this process handles them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from deployd.systemd.signals import handles, number_of


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SIGUSR1", signal.SIGUSR1),
        ("SIGRTMIN", signal.SIGRTMIN),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("SIGRTMAX-1", signal.SIGRTMAX - 1),
    ],
)
def test_names_are_those_of_systemd(name: str, expected: int) -> None:
    assert number_of(name) == expected


def test_a_signal_that_would_end_the_process_is_recognised() -> None:
    assert not handles(os.getpid(), "SIGUSR2")
    for handler in (signal.SIG_IGN, lambda *_: None):
        before = signal.signal(signal.SIGUSR2, handler)
        try:
            assert handles(os.getpid(), "SIGUSR2")
        finally:
            signal.signal(signal.SIGUSR2, before)
    assert not handles(os.getpid(), "SIGUSR2")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN + 3})
    try:
        assert handles(os.getpid(), "SIGRTMIN+3")
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGRTMIN + 3})


def test_a_process_that_has_ended_handles_nothing(tmp_path: Path) -> None:
    assert not handles(1, "SIGUSR1", tmp_path)
