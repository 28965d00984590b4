"""The table of servers: every failure is in it, and the figures survive being stored."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.load.record import Kind, Outcome, Record, Request
from tests.servers.page import cells, dump, load, markdown, text
from tests.servers.proof import merged
from tests.servers.result import Bad, Counted, Row
from tests.servers.verdict import harmless

STOPPED = Bad("crash", True, "instance 5 exited with status 3", 1.5, 300, 0)
GOOD = Row("puma", "puma, rack", "5.6.5", "steered", 3, Counted(1200, 0, {}, 0.21), 0.4, (STOPPED,))
LIVE = replace(STOPPED, behaviour="errors", stopped=False, failed=7, reason="")
CUT = Counted(1200, 2, {"upload reset": 2}, 0.21)


def test_every_failure_is_counted_by_kind_and_outcome() -> None:
    ok = Request(0.0, 0.0, 0.5, Outcome.OK, Kind.FRESH, 200)
    cut = Request(0.0, 0.0, 3.0, Outcome.RESET, Kind.UPLOAD)
    message = Request(0.0, 0.0, 9.0, Outcome.EOF, Kind.WEBSOCKET, detail="close 1012")
    sockets = Record.of([message], 0.0, 3.0, facts={"moved": 4})
    counted = Counted.of(Record.of([ok], 0.0, 1.0), Record.of([cut, cut], 0.0, 3.0), sockets)
    assert counted == Counted(4, 3, {"upload reset": 2, "websocket eof close 1012": 1}, 0.5, 1, 4)


def test_a_row_counts_its_bad_releases_as_well() -> None:
    row = replace(GOOD, bad=(STOPPED, LIVE), during=CUT)
    assert (row.requests, row.failed) == (1800, 9)
    assert cells(row)[6:8] == ("2", "7")
    assert cells(row)[-1] == "1 of 2, not: errors"
    assert text([row]).splitlines()[2:] == [
        "puma, steered: 2 upload reset in rollouts",
        "puma, steered, bad release errors: 7 of 300 failed: ",
    ]


def test_the_tests_refuse_a_row_with_a_failure_or_a_bad_release_that_went_live() -> None:
    harmless(GOOD)
    for row in (replace(GOOD, during=CUT), replace(GOOD, bad=(replace(STOPPED, stopped=False),))):
        with pytest.raises(AssertionError):
            harmless(row)


def test_the_page_has_a_line_for_each_row_and_each_note_once() -> None:
    rows = [replace(GOOD, note="a note"), replace(GOOD, mode="shared", note="a note")]
    page = markdown(rows, "Conditions.")
    assert "| puma, rack | 5.6.5 | steered | 3 | 1,500 |  | 0 | 0 | 0.21 | 0.4 | 1 of 1 |\n" in page
    assert page.count("a note") == 1


def test_moved_connections_are_shown_where_there_are_websockets() -> None:
    moved = replace(GOOD, during=Counted(1200, 0, {}, 0.21, messages=100, moved=0))
    assert [cells(row)[5] for row in (GOOD, moved)] == ["", "0"]


def test_the_figures_survive_being_stored() -> None:
    rows = [GOOD, replace(GOOD, bad=(LIVE,), during=CUT)]
    assert load(dump(rows, "Conditions.")) == (rows, "Conditions.")


def test_what_a_user_changes_in_an_app_file_wins_in_tables_too() -> None:
    assert merged({"a": 1, "t": {"x": 1, "y": 2}}, {"t": {"y": 3}, "u": {}}) == {"a": 1, "t": {"x": 1, "y": 3}, "u": {}}
