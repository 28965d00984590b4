"""The units that would be generated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployd_cli.text.paint import Paint
from deployd_cli.text.words import dicts_of, text_of

DIFF_STYLES = {"+": "good", "-": "bad", "@": "dim"}


def unit_lines(units: Mapping[str, Any], paint: Paint) -> list[str]:
    """Return the files, each below its path, as `systemctl cat` prints them, without those to be deleted."""
    lines: list[str] = []
    for unit in dicts_of(units, "units"):
        if _raw(unit, "text"):
            lines += ["", paint("dim", f"# {text_of(unit, 'path', '-')}"), *_raw(unit, "text")]
    return lines[1:]


def diff_lines(units: Mapping[str, Any], paint: Paint) -> list[str]:
    """Return a unified diff from the installed units to the generated ones; empty if they are equal."""
    import difflib

    lines: list[str] = []
    for unit in dicts_of(units, "units"):
        path, installed = text_of(unit, "path", "-"), _raw(unit, "installed")
        before = path if unit.get("installed") is not None else "/dev/null"
        after = path if unit.get("text") else "/dev/null"
        for line in difflib.unified_diff(installed, _raw(unit, "text"), before, after, lineterm=""):
            lines.append(paint(DIFF_STYLES.get(line[:1], ""), line))
    return lines


def _raw(unit: Mapping[str, Any], key: str) -> list[str]:
    value = unit.get(key)
    return value.splitlines() if isinstance(value, str) else []
