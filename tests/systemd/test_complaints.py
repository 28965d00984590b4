"""Complaints in the journal: which entries match, how many are counted, and that no error is raised."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deployd.systemd import complaints
from deployd.systemd.complaints import MOST_INVOCATIONS, NOT_READ, ComplaintCounter, Complaints


class Reader:
    """A journal of these messages, oldest first. It does not filter: matches are libsystemd's."""

    def __init__(self, *messages: Any) -> None:
        self.messages = list(messages)
        self.matches: list[str] = []
        self.data_threshold = 0

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add_match(self, match: str) -> None:
        self.matches.append(match)

    def add_disjunction(self) -> None:
        self.matches.append("+")

    def seek_tail(self) -> None:
        pass

    def get_previous(self) -> dict[str, Any]:
        return {"MESSAGE": self.messages.pop()} if self.messages else {}


def count(reader: Any, *invocations: str) -> Complaints:
    return asyncio.run(ComplaintCounter(lambda: reader).of(invocations))


def test_all_are_counted_and_the_last_are_returned() -> None:
    reader = Reader("one", "two", "three\n  in two lines\n\n", b"f\xffur")
    assert count(reader, "ab", "", "cd") == Complaints(4, False, ("three", "  in two lines", "f\ufffdur"))
    bad = [f"PRIORITY={number}" for number in range(4)]
    fields = ("_SYSTEMD_INVOCATION_ID", "INVOCATION_ID")
    assert reader.matches == [word for name in fields for word in (f"{name}=ab", f"{name}=cd", *bad, "+")]


def test_control_characters_are_replaced() -> None:
    assert count(Reader("\x1b[31mred\x07"), "ab").last == ("red\ufffd",)


def test_without_invocations_the_journal_is_not_opened() -> None:
    def refuse() -> Any:
        raise AssertionError

    assert asyncio.run(ComplaintCounter(refuse).of(["", ""])) == Complaints()


def test_the_count_and_the_invocations_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complaints, "MOST", 5)
    assert count(Reader(*"abcdef"), "ab") == Complaints(5, True, ("d", "e", "f"))
    assert count(Reader(*"abcde"), "ab") == Complaints(5, False, ("c", "d", "e"))
    reader = Reader()
    count(reader, *(f"{number:x}" for number in range(MOST_INVOCATIONS + 1)))
    assert reader.matches[0] == "_SYSTEMD_INVOCATION_ID=1"


def test_a_count_that_takes_too_long_is_returned_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complaints, "TIMEOUT", -1.0)
    monkeypatch.setattr(asyncio, "wait", lambda items, timeout: _all(items))
    assert count(Reader("one"), "ab") == Complaints(0, True)


async def _all(items: set[asyncio.Future[Any]]) -> tuple[set[asyncio.Future[Any]], set[asyncio.Future[Any]]]:
    await asyncio.gather(*items)
    return items, set()


def test_a_journal_that_cannot_be_read_is_no_error() -> None:
    def broken() -> Any:
        raise OSError("no journal")

    assert asyncio.run(ComplaintCounter(broken).of(["ab"])) == NOT_READ
