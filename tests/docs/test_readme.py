"""The app files of README.md are valid and have every key."""

from __future__ import annotations

import tomllib
from typing import Any

from deployd import config
from deployd.model.app import App
from tests.docs import readme

REQUIRED = 'release = "/srv/demo/current"\nexec = ["./app"]\nlisten = [8080]\n'
GOLDEN = readme.CHECKOUT / "tests/units/golden"


def app(text: str) -> App:
    return config.parse("demo", text, "README.md")


def test_the_app_files_are_valid() -> None:
    reference, steered = readme.blocks("toml")
    assert app(reference).instances == 4
    assert app(REQUIRED + steered).pace.standby == 600.0


def test_they_have_every_key() -> None:
    shown = frozenset().union(*(keys(tomllib.loads(text)) for text in readme.blocks("toml")))
    files = (GOLDEN / f"{name}.toml" for name in ("everything", "steered"))
    known = frozenset().union(*(keys(tomllib.loads(file.read_text(encoding="utf-8"))) for file in files))
    assert known - shown == set()


def keys(table: dict[str, Any], above: str = "") -> set[str]:
    """Return the keys with their tables, without systemd's directives, variables and the two kinds of probe."""
    found: set[str] = set()
    for key, value in table.items():
        if key.islower() and above != "probe." and above != "environment.":
            found.add(above + key)
            found |= keys(value, f"{key}.") if isinstance(value, dict) else set()
    return found
