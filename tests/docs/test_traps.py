"""docs/traps.md names tests that exist, and at least one for each trap but those in its last section."""

from __future__ import annotations

import ast
import re

from tests.docs.readme import CHECKOUT

PAGE = (CHECKOUT / "docs/traps.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
UNSHOWN = "\n## Not shown by a test\n"


def test_every_test_that_it_names_exists() -> None:
    missing = [f"{path}::{name}" for path, name in NAMED.findall(PAGE) if name not in names_in(path)]
    assert not missing


def names_in(path: str) -> set[str]:
    """Return the names of the tests in a file, none if it does not exist."""
    file = CHECKOUT / path
    if not file.exists():
        return set()
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_trap_has_a_test_or_is_said_to_have_none() -> None:
    shown, unshown = PAGE.split(UNSHOWN)
    entries = re.split(r"^- ", shown, flags=re.MULTILINE)[1:]
    assert not [entry for entry in entries if not NAMED.search(entry)]
    assert not NAMED.search(unshown)
