"""composer.json, and the front controller of PHP applications."""

from __future__ import annotations

import json
from typing import Any

from deployd_cli.presets.facts import Facts, Found, Package
from deployd_cli.presets.project import Project

FILE = "composer.json"


def read(project: Project) -> Facts:
    """Return the packages of composer.json and the directory of index.php."""
    values = {}
    for directory in ("public", "web", ""):
        index = f"{directory}/index.php".lstrip("/")
        if index in project.names:
            values["document_root"] = Found(directory or ".", index)
            break
    return Facts(packages=tuple(_packages(project.text(FILE))), values=values)


def _packages(text: str) -> list[Package]:
    try:
        raw: Any = json.loads(text)
    except (ValueError, RecursionError):
        return []
    required = raw.get("require") if isinstance(raw, dict) else None
    names = required if isinstance(required, dict) else {}
    return [Package(f"php:{name.lower()}", "", FILE) for name in names if "/" in name and name.isprintable()]
