"""What an app file changes: a line for each key, as in a diff."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from deployd_cli.text.paint import Paint
from deployd_cli.text.words import dicts_of, printable, text_of

INDENT = "  "
CONTENTS = "contents."


def change_lines(source: Mapping[str, Any], paint: Paint) -> list[str]:
    """Return ``- instances = 4`` and ``+ instances = 8``, or ``~ environment.KEY`` for a value that is not shown."""
    lines: list[str] = []
    for change in dicts_of(source, "changes"):
        key, before, after = text_of(change, "key", "?"), change.get("before"), change.get("after")
        if before is None and after is None:
            mark = {"added": "+", "removed": "-"}.get(text_of(change, "change"), "~")
            lines.append(paint({"+": "good", "-": "bad"}.get(mark, ""), f"{INDENT}{mark} {_name(key)}"))
        if before is not None:
            lines.append(paint("bad", f"{INDENT}- {key} = {_value(before)}"))
        if after is not None:
            lines.append(paint("good", f"{INDENT}+ {key} = {_value(after)}"))
    return lines


def _name(key: str) -> str:
    return f"contents of {key.removeprefix(CONTENTS)}" if key.startswith(CONTENTS) else key


def _value(value: Any) -> str:
    return printable(json.dumps(value, ensure_ascii=False))
