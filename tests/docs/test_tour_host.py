"""The tour of README.md works as it is typed: in `make shell`, line by line, and prints what stands there."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.docs import readme
from tests.docs.terminal import Terminal
from tests.docs.typed import normal

PATIENCE = 20.0
"""Seconds until a canary is ready, where a reader takes a breath."""


@pytest.fixture(scope="module")
def terminal() -> Iterator[Terminal]:
    with Terminal() as terminal:
        yield terminal


def test_the_shell_says_what_it_has(terminal: Terminal) -> None:
    shown = "\n".join(terminal.greeting)
    assert "The app demo is ready to be deployed" in shown


def test_it_has_the_manual(terminal: Terminal) -> None:
    lines = terminal.type("man -P cat deployd | head -n 4")
    assert lines[0].startswith("deployd(1)")
    assert lines[-1].strip() == "deployd - roll out releases of web applications without downtime"


def test_it_completes_commands_and_apps(terminal: Terminal) -> None:
    assert terminal.complete("deployd hist") == "deployd history"
    assert terminal.complete("deployd history d") == "deployd history demo"


def test_the_tour_prints_what_the_page_says(terminal: Terminal) -> None:
    """All but times, dates and process IDs is compared, blanks between columns aside."""
    for typed in readme.tour():
        expected = list(normal(typed.output.splitlines()))
        shown = list(normal(terminal.type(typed.command)))
        deadline = time.monotonic() + PATIENCE
        while shown != expected and typed.command.startswith("deployd status") and time.monotonic() < deadline:
            shown = list(normal(terminal.type(typed.command)))  # the canary is still starting
        assert shown == expected, typed.command
