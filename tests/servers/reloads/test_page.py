"""The comparison as a table: its figures survive being stored, and its section is replaced where it stands."""

from __future__ import annotations

from dataclasses import replace

from tests.servers.reloads.capacity import Capacity
from tests.servers.reloads.page import dump, load, section, section_of, text, with_section
from tests.servers.reloads.row import Harm, Row
from tests.servers.result import Counted

CRASH = Harm("crash", 0, 1200, 1100, {"fresh refused": 1100}, Capacity(0, 4, True), 0, 1, 0.4)
ERRORS = replace(CRASH, behaviour="errors", failed=1200, attempts=2, back_seconds=2.0)
OWN = Row(
    "puma-phased",
    "puma phased-restart",
    "5.6.5",
    False,
    5,
    Counted(2000, 2, {"keepalive reset": 2}, 1.5),
    1.2,
    4.2,
    Capacity(3, 4, True),
    CRASH,
    ERRORS,
    "cluster mode",
)
DEPLOYD = replace(OWN, title="puma, rack, deployd", deployd=True, during=Counted(2000, 0, {}, 0.1), settings="")


def test_each_row_says_what_the_bad_releases_did_and_each_kind_of_failure_is_there() -> None:
    said = text([OWN, DEPLOYD]).splitlines()
    assert "exit 0, 1,100 of 1,200 failed, 0 of 4 left" in said[1]
    assert said[1].endswith("0.4 / 2.0 (2 commands)")
    assert said[3:] == ["puma phased-restart: 2 keepalive reset"]


def test_the_section_names_the_settings_of_each_way_once() -> None:
    page = section([OWN, DEPLOYD], "Conditions.")
    assert page.count("cluster mode") == 1
    assert "- puma phased-restart: 2 keepalive reset in good releases\n" in page


def test_a_section_replaces_the_one_before_and_leaves_the_page_alone() -> None:
    page = "# Servers\n\nRows.\n"
    once = with_section(page, section([OWN], "One."))
    again = with_section(once, section([DEPLOYD], "Two."))
    assert again.startswith(page)
    assert "One." not in again
    assert with_section(page, section_of(again)) == again
    assert with_section(page, section_of(page)) == page


def test_the_figures_survive_being_stored() -> None:
    assert load(dump([OWN, DEPLOYD], "Conditions.")) == ([OWN, DEPLOYD], "Conditions.")
