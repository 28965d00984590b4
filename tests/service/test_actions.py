"""Each method that changes something has an action; policy file, manual, API description and command agree on it."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from deployd import names
from deployd.service.actions import NEEDED, SUPERSEDE, Action, verb
from deployd.service.introspection import description
from deployd_cli.program import COMMANDS
from tests.service.served import CHANGES, READS

CHECKOUT = Path(__file__).resolve().parents[2]
DETAILS = {"app", "verb", "release"}
ROW = re.compile(r"^\| \*(org\.deployd1\.[a-z-]+)\* \| (.*) \|$", re.MULTILINE)


def policy() -> dict[str, ElementTree.Element]:
    root = ElementTree.parse(CHECKOUT / "units/org.deployd1.policy").getroot()
    return {item.get("id", ""): item for item in root.findall("action")}


def test_each_method_that_changes_something_has_an_action() -> None:
    methods = [item.get("name", "") for item in ElementTree.fromstring(description()).iter("method")]
    reads = {member for _, member in READS}
    assert set(NEEDED) == {member for _, member in CHANGES} == set(methods) - reads
    assert set(NEEDED) == names.CHANGES, "the command lets polkit ask for exactly these"


def test_polkit_knows_each_action_and_no_other() -> None:
    assert list(policy()) == list(Action)
    assert set(Action) == {*NEEDED.values(), Action.READ_LOGS}


def test_each_message_names_app_and_release() -> None:
    for name, action in policy().items():
        used = set(re.findall(r"\$\((\w+)\)", action.findtext("message", "")))
        assert used <= DETAILS | ({"command"} if name == Action.RUN else set())
        assert {"app", "release"} <= used or name == Action.READ_LOGS, name


def test_without_a_rule_a_password_is_needed() -> None:
    for name, action in policy().items():
        answers = {item.tag: item.text for item in action.find("defaults") or ()}
        once = {"allow_any": "auth_admin", "allow_inactive": "auth_admin", "allow_active": "auth_admin"}
        match name:
            case Action.READ_LOGS:
                assert set(answers.values()) == {"no"}
            case Action.REMOVE:
                assert answers == once
            case _:
                assert answers == {**once, "allow_active": "auth_admin_keep"}


def test_the_manual_says_which_command_needs_which_action() -> None:
    pages = "".join(page.read_text() for page in (CHECKOUT / "packaging/man").glob("*.md"))
    found = {action: set(re.findall(r"\*\*([a-z-]+)\*\*", commands)) for action, commands in ROW.findall(pages)}
    wanted: dict[str, set[str]] = {}
    for member, action in NEEDED.items():
        wanted.setdefault(action, set()).add(verb(member))
    wanted[Action.PAUSE].add(f"--{SUPERSEDE}")
    assert found == wanted
    assert {name for names in wanted.values() for name in names} - {f"--{SUPERSEDE}", "reload"} <= set(COMMANDS)
