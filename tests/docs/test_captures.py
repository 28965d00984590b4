"""The pictures of docs/views.md."""

from __future__ import annotations

import re
from pathlib import Path

import pyte
import pytest

from tests.docs.captures import PICTURES, shown, svg
from tests.docs.terminal import COLUMNS, LINES, PROMPT

DOCS = Path(__file__).resolve().parents[2] / "docs"
NAMES = [name for name, _, _ in PICTURES]


def screen(text: str) -> pyte.Screen:
    made = pyte.Screen(COLUMNS, LINES)
    pyte.Stream(made).feed(text)
    return made


def test_a_picture_has_the_text_and_colours_of_the_screen_and_loads_nothing() -> None:
    made = svg("deployd x", screen(f"deployd x\r\n  \x1b[32mready\x1b[0m  0.1 s <&>\r\n{PROMPT}"))
    assert shown(made) == ["# deployd x", "  ready  0.1 s <&>"]
    assert re.search(r">ready</text>", made)
    assert "url(" not in made.replace("url(#", "")


@pytest.mark.parametrize("name", NAMES)
def test_each_picture_is_on_the_page_and_shows_its_command(name: str) -> None:
    page = (DOCS / "views.md").read_text(encoding="utf-8")
    assert re.search(rf"!\[[^\]]{{10,}}\]\(captures/{name}\.svg\)", page), "with words for those who cannot see it"
    command = next(command for found, command, _ in PICTURES if found == name)
    assert shown((DOCS / f"captures/{name}.svg").read_text(encoding="utf-8"))[0] == f"# {command}"


def test_there_are_no_others() -> None:
    assert sorted(path.stem for path in (DOCS / "captures").iterdir()) == sorted(NAMES)
