"""Drawing in place: on a terminal of any size the last drawing is there once and complete."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from deployd.api import Client
from deployd.model.clock import Timestamp, iso
from deployd_cli import live
from deployd_cli.commands import status as status_command
from deployd_cli.live import AFTERWARDS, HIDE_CURSOR, SHOW_CURSOR, Screen
from tests.cli.fake_daemon import instance, status

SEQUENCE = re.compile(r"\x1b\[\?25[lh]|\x1b\[([0-9]*)([AHJK])|([\r\n])|([^\x1b\r\n]+)")


class Terminal(io.StringIO):
    """Interprets what is written to it; `rows` is what a user sees."""

    def __init__(self) -> None:
        super().__init__()
        self.size = os.terminal_size((80, 24))
        self.rows = ["$ deployd rollout demo"]
        self.row, self.column = 1, 0

    def fileno(self) -> int:
        return 1

    def write(self, text: str) -> int:
        for number, letter, control, words in SEQUENCE.findall(text):
            while self.row >= len(self.rows):
                self.rows.append("")
            if letter == "A":
                self.row -= int(number or 1)
            elif letter == "H":
                self.row = self.column = 0
            elif letter in ("K", "J"):
                self.rows[self.row] = self.rows[self.row][: self.column]
                del self.rows[self.row + 1 if letter == "J" else len(self.rows) :]
            elif control:
                self.row, self.column = self.row + (control == "\n"), 0
            elif words:
                line = self.rows[self.row]
                self.rows[self.row] = line[: self.column] + words + line[self.column + len(words) :]
                self.column += len(words)
        return super().write(text)

    def wrap(self, columns: int) -> None:
        """Become narrower, as terminals do: what is there already takes more rows."""
        self.rows = [row[at : at + columns] for row in self.rows for at in range(0, max(len(row), 1), columns)]
        self.row, self.column = len(self.rows), 0
        self.size = os.terminal_size((columns, 24))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    terminal = Terminal()
    monkeypatch.setattr(os, "get_terminal_size", lambda _: terminal.size)
    return terminal


def drawn(terminal: Terminal, draw: live.Draw, work: Callable[[Screen], None]) -> None:
    async def run() -> None:
        with Screen(draw) as screen:
            work(screen)

    with contextlib.redirect_stdout(terminal):
        asyncio.run(run())


def test_each_drawing_replaces_the_one_before(terminal: Terminal) -> None:
    drawings = [["a" * 30, "b", "c"], ["a", "bb"], ["a", "b", "c", "d"]]
    shown: list[list[str]] = []

    def work(screen: Screen) -> None:
        for _ in drawings[1:]:
            shown.append([row for row in terminal.rows[1:] if row])
            screen.draw()

    frames = iter([*drawings, drawings[-1]])
    drawn(terminal, lambda _columns, _lines: next(frames), work)
    assert shown == drawings[:2]
    assert [row for row in terminal.rows if row] == ["$ deployd rollout demo", "a", "b", "c", "d"]


def test_a_control_c_that_the_terminal_echoes_is_drawn_over(terminal: Terminal) -> None:
    def work(_: Screen) -> None:
        terminal.write("^C")

    drawn(terminal, lambda _columns, _lines: ["first", "second"], work)
    assert [row for row in terminal.rows if row] == ["$ deployd rollout demo", "first", "second"]


def test_a_terminal_that_becomes_narrower_shows_the_drawing_once(terminal: Terminal) -> None:
    def work(screen: Screen) -> None:
        terminal.wrap(40)
        screen.draw()

    drawn(terminal, lambda columns, _lines: ["x" * columns, "end"], work)
    assert [row for row in terminal.rows if row] == ["x" * 40, "end"]


def test_the_last_drawing_leaves_room_and_the_cursor(terminal: Terminal) -> None:
    heights: list[int] = []

    def draw(_columns: int, lines: int) -> list[str]:
        heights.append(lines)
        return ["line"]

    drawn(terminal, draw, lambda _: None)
    assert heights == [23, 24 - AFTERWARDS]
    written = terminal.getvalue()
    assert written.startswith(HIDE_CURSOR)
    assert written.endswith(SHOW_CURSOR)


def test_ages_in_status_do_not_follow_a_wall_clock_that_is_set_later(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = Timestamp(time.monotonic(), 1_000_000.0, "boot")
    monkeypatch.setattr(Timestamp, "now", lambda: arrived)
    monkeypatch.setattr(status_command, "can_redraw", lambda _: True)

    class Daemon:
        async def changes(self, _: str) -> AsyncIterator[dict[str, Any]]:
            yield status(instances=[instance(1, 7, since=iso(994_000.0))])

        async def present(self) -> bool:
            return False

    with contextlib.redirect_stdout(terminal):
        asyncio.run(status_command._watch(cast(Client, Daemon()), "demo", as_json=False))
    shown = next(row for row in terminal.rows if row.split()[:3] == ["1", "7", "ready"])
    assert shown.split()[3:5] == ["100", "min"]
