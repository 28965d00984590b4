"""deployd presets: the servers for which deployd init writes an app file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from deployd_cli.options import JSON
from deployd_cli.output import paint_for, show, show_json, width_of
from deployd_cli.text.presets import preset_lines, presets_lines

if TYPE_CHECKING:
    from deployd_cli.presets.preset import Preset


def preset_names(incomplete: str) -> list[str]:
    """Return the presets that complete `incomplete`."""
    from deployd.errors import DeploydError
    from deployd_cli.chosen import Chosen
    from deployd_cli.presets import catalog

    try:
        return [name for name in catalog.load(Chosen.scope.presets).presets if name.startswith(incomplete)]
    except DeploydError:
        return []


PRESET = typer.Argument(
    "", metavar="PRESET", help="Name of the preset; all if omitted.", show_default=False, autocompletion=preset_names
)


def presets(preset: str = PRESET, as_json: bool = JSON) -> None:
    """Show the presets of init and what their servers can do. Changes nothing."""
    from deployd_cli.chosen import Chosen
    from deployd_cli.presets import catalog

    known = catalog.load(Chosen.scope.presets)
    if preset:
        answer = _document(known.get(preset))
        lines = preset_lines(answer, width=width_of(sys.stdout), paint=paint_for(sys.stdout))
    else:
        answer = {"presets": [_document(item) for item in known.presets.values()]}
        lines = presets_lines(answer, width=width_of(sys.stdout), paint=paint_for(sys.stdout))
    if as_json:
        show_json(answer)
    else:
        show(lines)


def _document(preset: Preset) -> dict[str, Any]:
    from dataclasses import asdict

    from deployd_cli.presets.preset import SOCKETS

    keys = ("name", "title", "summary", "gate", "stop", "keep_alive", "websockets", "versions")
    return {
        **{key: getattr(preset, key) for key in keys},
        "socket": SOCKETS[preset.socket],
        "notes": list(preset.notes),
        "measured": [asdict(item) for item in preset.measured],
    }
