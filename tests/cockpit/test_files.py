"""The page's files: what Cockpit's Content-Security-Policy and the house's rules ask of them."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from tests.cockpit.modules import PAGE

MODULES = sorted(PAGE.glob("*.js"))
LONGEST = 250
"""Lines of a module."""


class Tags(HTMLParser):
    """The start tags of index.html, and the text of scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in {"script", "style"}:
            self.inline += data.strip()


@pytest.fixture(scope="module")
def html() -> Tags:
    found = Tags()
    found.feed((PAGE / "index.html").read_text())
    return found


def test_nothing_is_inline(html: Tags) -> None:
    """Cockpit allows scripts and styles from files of its own only."""
    assert html.inline == ""
    for tag, attributes in html.tags:
        assert tag != "style"
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag


def test_every_file_is_used_and_every_used_file_is_there(html: Tags) -> None:
    named = {attributes.get("src") or attributes.get("href") for _, attributes in html.tags} - {None}
    used = {name for name in named if name and not name.startswith("../")}
    for module in MODULES:
        used |= set(re.findall(r'^import .* from "\./([\w.]+)";$', module.read_text(), re.MULTILINE))
    assert used | {"index.html", "manifest.json"} == {path.name for path in PAGE.iterdir()}


def test_imports_are_of_this_folder_only() -> None:
    for module in MODULES:
        assert not re.findall(r'from "(?!\./)|import\(', module.read_text()), module.name


def test_the_manifest_puts_it_into_the_menu() -> None:
    manifest = json.loads((PAGE / "manifest.json").read_text())
    assert manifest["menu"]["index"]["label"] == "Deployments"
    assert manifest["requires"] == {"cockpit": "265"}


@pytest.mark.parametrize("name", [path.name for path in MODULES])
def test_data_never_becomes_markup_or_code(name: str) -> None:
    text = (PAGE / name).read_text()
    bad = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|\.style[.\[]"
    assert not re.findall(bad, text)


@pytest.mark.parametrize("name", [path.name for path in MODULES])
def test_nothing_is_polled(name: str) -> None:
    assert not re.findall(r"setInterval|setTimeout|requestAnimationFrame", (PAGE / name).read_text())


@pytest.mark.parametrize("name", [path.name for path in MODULES])
def test_a_module_says_what_it_owns_and_is_short(name: str) -> None:
    lines = (PAGE / name).read_text().splitlines()
    assert lines[0].startswith("// ")
    assert len(lines) <= LONGEST
    assert not [line for line in lines if len(line) > 120]
