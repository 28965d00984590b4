"""The units that would be generated, and the files of the generation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deployd_cli.text.paint import Paint
from deployd_cli.text.words import dicts_of, text_of, verbatim

DIFF_STYLES = {"+": "good", "-": "bad", "@": "dim"}
LONGEST = 4096
"""Columns of a line."""


def unit_lines(units: Mapping[str, Any], paint: Paint) -> list[str]:
    """Return the files, each below its path, as `systemctl cat` prints them, without those to be deleted."""
    lines: list[str] = []
    for file in _files(units):
        if file.get("link") is True and file.get("text"):
            lines += ["", paint("dim", f"# {_path(file)} -> {text_of(file, 'text')}")]
        elif text := _raw(file, "text"):
            lines += ["", paint("dim", f"# {_path(file)}"), *text]
    return lines[1:]


def diff_lines(units: Mapping[str, Any], paint: Paint) -> list[str]:
    """Return a unified diff from the installed files to the generated ones; empty if they are equal."""
    import difflib

    lines: list[str] = []
    for file in _files(units):
        before, after = (_path(file) if file.get(key) else "/dev/null" for key in ("installed", "text"))
        for line in difflib.unified_diff(_raw(file, "installed"), _raw(file, "text"), before, after, lineterm=""):
            lines.append(paint(DIFF_STYLES.get(line[:1], ""), line))
    return lines


def _files(units: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from dicts_of(units, "units")
    yield from dicts_of(units, "files")


def _path(file: Mapping[str, Any]) -> str:
    return text_of(file, "path", "-")


def _raw(file: Mapping[str, Any], key: str) -> list[str]:
    value = file.get(key)
    return [verbatim(line, LONGEST) for line in value.splitlines()] if isinstance(value, str) else []
