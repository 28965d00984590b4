"""The pictures of docs/views.md: what commands show on a terminal, from a real run. `make captures` writes them.

`python -m tests.docs.captures DIRECTORY`
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

import pyte

from tests.docs.terminal import COLUMNS, PROMPT, Terminal, TerminalError
from tests.host.machine import MachineError
from tests.host.root import RootError
from tests.host.sources import SourcesError

if sys.modules.get("rich", sys) is None:  # deployd_cli.program hides it from typer, and may have been imported before
    del sys.modules["rich"]
from rich.console import Console
from rich.style import Style
from rich.text import Text

COLOURS = {"brown": "yellow"}
"""Names of pyte that rich does not have."""
_FONT = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
_SVG = "{http://www.w3.org/2000/svg}"

SETUP = (
    "sed -i 's/instances = 4/instances = 8/' /etc/deployd/apps/demo.toml",
    "deployd apply demo >/dev/null",
)
PICTURES = (
    ("plan", "deployd plan demo --release /srv/demo/v2", ""),
    ("rollout", "deployd rollout demo --release /srv/demo/v2", "5 of 8 new"),
    ("failed", "deployd rollout demo --release /srv/demo/v3; echo $?", ""),
    ("status", "deployd status demo", ""),
    ("health", "deployd health demo", ""),
    ("history", "deployd history demo", ""),
    ("logs", "deployd logs demo -n 8", ""),
)
"""Name, command, and what the picture is to have if it is taken before the command has ended."""


def svg(command: str, screen: pyte.Screen) -> str:
    """Return the picture of a screen on which the command was typed."""
    rows = [screen.buffer[number] for number in range(screen.cursor.y + 1)]
    lines = [Text.assemble(*_pieces([row[x] for x in range(COLUMNS)])) for row in rows]
    lines = [line for line in lines if line.plain.rstrip() != PROMPT.rstrip()]
    lines[: 1 + len(command) // COLUMNS] = [Text(f"# {command}", Style(bold=True))]
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for line in lines:
        line.rstrip()
        console.print(line, no_wrap=True, overflow="ignore")
    found = console.export_svg(title="", unique_id="terminal")
    # A page must not load fonts of others. librsvg takes blanks away at the beginning of each piece, even with U+00A0.
    return _FONT.sub("", found).replace("<svg ", '<svg xml:space="preserve" ', 1)


def shown(picture: str) -> list[str]:
    """Return the text of a picture, line by line."""
    lines: dict[float, str] = {}
    for item in ElementTree.fromstring(picture).iter(f"{_SVG}text"):
        if "clip-path" in item.attrib:
            y = float(item.attrib["y"])
            lines[y] = lines.get(y, "").ljust(round(float(item.attrib["x"]) / 12.2)) + (item.text or "").rstrip("\n")
    return [lines[y].replace("\xa0", " ").rstrip() for y in sorted(lines)]


def take(directory: Path) -> None:
    """Write the pictures of a run on a host of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    with Terminal() as terminal:
        for command in SETUP:
            terminal.type(command)
        for name, command, wanted in PICTURES:
            (directory / f"{name}.svg").write_text(svg(command, terminal.picture(command, wanted)), encoding="utf-8")


def _pieces(row: list[pyte.screens.Char]) -> Iterator[tuple[str, Style]]:
    """Yield the characters of a row, those with the same style together."""
    for style, chars in groupby(row, _style):
        yield "".join(char.data for char in chars), style


def _style(char: pyte.screens.Char) -> Style:
    colour = None if char.fg == "default" else COLOURS.get(char.fg, char.fg)
    return Style(color=colour, bold=char.bold or None, dim=False)


if __name__ == "__main__":
    try:
        take(Path(sys.argv[1]))
    except (TerminalError, MachineError, RootError, SourcesError) as error:
        sys.exit(str(error))
