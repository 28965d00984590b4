"""ARCHITECTURE.md has every room in the order of the import contract, and names only files that exist."""

from __future__ import annotations

import re
import tomllib

from tests.docs.readme import CHECKOUT

PAGE = (CHECKOUT / "ARCHITECTURE.md").read_text(encoding="utf-8")
DAEMON = CHECKOUT / "daemon/deployd"


def rooms() -> list[str]:
    """Return the rooms of the table, from the top."""
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    return [name.rstrip("/") for row in rows for name in re.findall(r"`([\w/.]+)`", row)]


def test_every_room_is_in_the_table() -> None:
    folders = {path.parent.name for path in DAEMON.glob("*/__init__.py")}
    assert {name for name in rooms() if not name.endswith(".py")} == folders


def test_they_stand_in_the_order_of_the_import_contract() -> None:
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    [floors] = (item for item in settings["tool"]["importlinter"]["contracts"] if item["id"] == "floors")
    order = [re.findall(r"deployd\.(\w+)", layer) for layer in floors["layers"]]
    level = {name: number for number, names in enumerate(order) for name in names}
    found = [level[name.removesuffix(".py")] for name in rooms()]
    assert found == sorted(found)
    assert set(level) == {name.removesuffix(".py") for name in rooms()}


def test_the_files_that_it_names_exist() -> None:
    named = set(re.findall(r"`([\w/]+\.(?:py|xml))`", PAGE)) | set(re.findall(r"\]\(([\w/.]+)\)", PAGE))
    missing = [name for name in named if not any((base / name).exists() for base in (DAEMON, CHECKOUT))]
    assert not missing
