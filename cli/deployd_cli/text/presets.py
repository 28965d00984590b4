"""Presets: a line for each, or one with everything that is known of its server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployd_cli.text.paint import Paint
from deployd_cli.text.table import Cell, Column, table
from deployd_cli.text.words import dicts_of, indented, list_of, number_of, printable, text_of

HEADS = [
    Column("PRESET"),
    Column("SOCKET"),
    Column("GATE"),
    Column("FOR", shrinks=True),
]
PROPERTIES = {
    "socket": "socket",
    "gate": "gate",
    "stop": "stop",
    "keep_alive": "keep-alive",
    "websockets": "WebSockets",
    "versions": "versions",
}
LABEL = 12


def presets_lines(answer: Mapping[str, Any], *, width: int | None, paint: Paint) -> list[str]:
    """Return the table of presets, with the first word on each gate."""
    rows: list[list[Cell | str]] = []
    for item in dicts_of(answer, "presets"):
        gate, _, _ = text_of(item, "gate").partition(",")
        rows.append([Cell(text_of(item, "name"), "strong"), text_of(item, "socket"), gate, text_of(item, "summary")])
    return table(HEADS, rows, width=width, paint=paint) if rows else []


def preset_lines(preset: Mapping[str, Any], *, width: int | None, paint: Paint) -> list[str]:
    """Return what is known of one preset's server, never cut."""
    heading = f"{text_of(preset, 'name')}: {text_of(preset, 'title')}, {text_of(preset, 'summary')}"
    lines = [paint("strong", heading), ""]
    for key, label in PROPERTIES.items():
        lines += _labelled(label, text_of(preset, key, "-"), width)
    notes = [printable(str(note)) for note in list_of(preset, "notes")]
    for note in notes:
        lines += ["", *indented(note, width)]
    measured = dicts_of(preset, "measured")
    if measured:
        lines += ["", paint("dim", "Failed requests in rollouts under load:"), ""]
        lines += _measured(measured, width, paint)
    return lines


def _labelled(label: str, text: str, width: int | None) -> list[str]:
    first, *others = indented(text, width, LABEL + 2) or [""]
    return [f"  {label:<{LABEL}}{first.strip()}", *others]


def _measured(measured: list[Mapping[str, Any]], width: int | None, paint: Paint) -> list[str]:
    heads = [
        Column("FAILED", number=True),
        Column("OF", number=True),
        Column("ROUTING"),
        Column("SERVER", shrinks=True),
    ]
    rows: list[list[Cell | str]] = []
    for item in measured:
        failed, note = number_of(item, "failed"), text_of(item, "note")
        server = text_of(item, "server", "-")
        rows.append(
            [
                Cell(f"{failed}", "bad" if failed else "good"),
                f"{number_of(item, 'requests')}",
                text_of(item, "routing", "-"),
                f"{server} ({note})" if note else server,
            ]
        )
    return table(heads, rows, width=width, paint=paint, indent=2)
