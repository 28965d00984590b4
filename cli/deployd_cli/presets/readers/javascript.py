"""package.json: dependencies and how the app is started."""

from __future__ import annotations

import json
from typing import Any

from deployd_cli.presets.facts import Command, Facts, Found, Package
from deployd_cli.presets.project import Project
from deployd_cli.presets.readers import command_text

FILE = "package.json"
_USUAL = ("server.js", "index.js", "app.js", "main.js", "src/server.js", "src/index.js", "server.mjs", "index.mjs")


def read(project: Project) -> Facts:
    """Return the dependencies, the start command, and the script that node runs."""
    try:
        raw: Any = json.loads(project.text(FILE))
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        return Facts(unclear=(f"{FILE} is not valid JSON",) if project.text(FILE) else ())
    packages = [
        Package(f"node:{name.lower()}", str(version).lstrip("^~>=v ") if _is_plain(version) else "", FILE)
        for name, version in _table(raw, "dependencies").items()
        if name.isprintable()
    ]
    start = _table(raw, "scripts").get("start")
    parsed = command_text.parsed(start, FILE) if isinstance(start, str) else None
    values: dict[str, Found] = {}
    commands: tuple[Command, ...] = ()
    if parsed is not None:
        command, assigned = parsed
        commands = (command,)
        values = command_text.values(command, assigned)
        if "script" not in values and not command.shell:
            values["start"] = Found(command.words, FILE)
    if "script" not in values and "start" not in values and (script := _script(raw, project)):
        values["script"] = Found(script, FILE)
    return Facts(packages=tuple(packages), commands=commands, values=values)


def _script(raw: dict[str, Any], project: Project) -> str:
    main = raw.get("main")
    candidates = [main.removeprefix("./")] if isinstance(main, str) else []
    return next((name for name in (*candidates, *_USUAL) if name in project.names), "")


def _table(raw: dict[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def _is_plain(version: object) -> bool:
    return isinstance(version, str) and version.isprintable() and len(version) < 20 and "/" not in version
