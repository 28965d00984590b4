"""The last lines of an invocation: which entries are read, what is replaced in them, and that no error is raised."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deployd.model.scope import of_user
from deployd.systemd import tail
from deployd.systemd.fields import LONGEST, harmless
from deployd.systemd.notices import Account, Ended
from deployd.systemd.tail import Tail

OURS, OTHER = "ab" * 16, "cd" * 16
UNIT = "demo@1.service"

Entry = dict[str, Any]


class Reader:
    """A journal of these entries, oldest first. It does not filter: matches are libsystemd's."""

    def __init__(self, entries: Sequence[Entry], slow: float = 0.0) -> None:
        self.entries = list(entries)
        self.left = list(entries)
        self.slow = slow
        self.matches: list[str] = []
        self.read = 0
        self.closed = False
        self.data_threshold = 0

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def add_match(self, match: str) -> None:
        self.matches.append(match)

    def add_disjunction(self) -> None:
        self.matches.append("+")

    def flush_matches(self) -> None:
        self.matches.append("flush")

    def seek_tail(self) -> None:
        self.left = list(self.entries)

    def get_previous(self) -> Entry:
        time.sleep(self.slow)
        self.read += 1
        return self.left.pop() if self.left else {}


def wrote(message: Any, invocation: str = OURS, **fields: Any) -> Entry:
    field = {"_SYSTEMD_INVOCATION_ID": invocation} if invocation else {}
    return {"MESSAGE": message, "_PID": 42, **field, **fields}


def last(reader: Any, varlink: Path, **options: Any) -> tuple[str, ...]:
    return asyncio.run(Tail(varlink, lambda: reader).last(OURS, **options))


@pytest.fixture
def no_listener(tmp_path: Path) -> Path:
    """The path of a socket without a listener."""
    return tmp_path / "io.systemd.journal"


def test_the_newest_lines_in_their_order(no_listener: Path) -> None:
    reader = Reader([wrote(f"line {number}") for number in range(30)])
    assert last(reader, no_listener) == tuple(f"line {number}" for number in range(20, 30))
    assert reader.closed
    lines, notices = reader.matches[: reader.matches.index("flush")], reader.matches[-1:]
    assert lines == [f"_SYSTEMD_INVOCATION_ID={OURS}", "+", f"INVOCATION_ID={OURS}", "+"]
    assert notices == [f"INVOCATION_ID={OURS}"]
    assert last(Reader([wrote("a"), wrote("b"), wrote("c")]), no_listener, lines=2) == ("b", "c")
    assert last(Reader([]), no_listener) == ()


def test_a_message_of_several_lines(no_listener: Path) -> None:
    entries = [wrote("one\ntwo\n\n"), wrote("   "), wrote("three\nfour")]
    assert last(Reader(entries), no_listener) == ("one", "two", "three", "four")
    assert last(Reader(entries), no_listener, lines=3) == ("two", "three", "four")


def test_messages_of_systemd_are_left_out(no_listener: Path) -> None:
    entries = [
        wrote("hello"),
        wrote("cannot execute it", "", INVOCATION_ID=OURS, UNIT=UNIT, _UID=0, _COMM="(sh)"),  # between fork and exec
        wrote("said by another user", "", INVOCATION_ID=OURS, UNIT=UNIT, _UID=1000, _COMM="(sh)"),
        wrote("Main process exited", "ef" * 16, INVOCATION_ID=OURS, _PID=1),
    ]
    assert last(Reader(entries), no_listener) == ("hello", "cannot execute it")


@pytest.mark.parametrize(("unit", "identifier"), [("shop@1.service", "shop@1"), ("shop:hook.service", "shop")])
def test_of_a_user_unit_a_late_line_is_found_by_its_identifier(no_listener: Path, unit: str, identifier: str) -> None:
    names, began = of_user(1000, "/people/dora", {}).journal, time.monotonic() - 5
    stamps = {
        "__MONOTONIC_TIMESTAMP": SimpleNamespace(timestamp=timedelta(seconds=began + 1)),
        "__REALTIME_TIMESTAMP": datetime.now(UTC),
    }
    own = {"_UID": 1000, "SYSLOG_IDENTIFIER": identifier, **stamps}
    entries = [
        wrote("late", "", **own),
        wrote("of another user", "", **{**own, "_UID": 1001}),
        wrote("of another unit", "", **{**own, "_SYSTEMD_USER_UNIT": "other.service"}),
        wrote("of another instance", "", **{**own, "SYSLOG_IDENTIFIER": "shop@2"}),
        wrote("known", "", **{**own, "_SYSTEMD_USER_UNIT": unit}),
    ]
    reader = Reader(entries)
    tail = Tail(no_listener, lambda: reader, names=names)
    assert asyncio.run(tail.last(OURS, unit, began)) == ("late", "known")
    assert {f"SYSLOG_IDENTIFIER={identifier}", "_UID=1000"} <= set(reader.matches)


def test_lines_without_an_invocation_id_are_found_by_unit(no_listener: Path) -> None:
    now, began = time.time(), time.monotonic() - 5

    def late(message: str, after: float, ago: float, invocation: str = "") -> Entry:
        stamp = SimpleNamespace(timestamp=timedelta(seconds=began + after))
        real = datetime.fromtimestamp(now - ago, UTC)
        stamps = {"__MONOTONIC_TIMESTAMP": stamp, "__REALTIME_TIMESTAMP": real}
        return wrote(message, invocation, _SYSTEMD_UNIT=UNIT, **stamps)

    entries = [
        late("of an earlier boot", after=900, ago=86400),
        late("of an earlier start", after=-1, ago=6),
        late("of another", after=1, ago=4, invocation=OTHER),
        late("last words", after=1, ago=4),
    ]
    reader = Reader(entries)
    assert last(reader, no_listener, unit=UNIT, since=began) == ("last words",)
    assert reader.matches[reader.matches.index("flush") - 1] == f"_SYSTEMD_UNIT={UNIT}"
    assert last(Reader(entries), no_listener) == ()


def test_what_systemd_says_of_the_invocation(no_listener: Path) -> None:
    exited = {"MESSAGE_ID": "98e32220-3f7a-4ed2-90d0-9fe03c09fe15", "EXIT_CODE": "exited", "EXIT_STATUS": "7"}
    entries = [
        wrote("hello"),
        wrote(f"{UNIT}: Control process exited", "", _PID=1, PRIORITY=5, COMMAND="ExecStartPost", **exited),
        wrote(f"{UNIT}: Failed to load environment files: No such file or directory", "", _PID=1, PRIORITY=3),
    ]
    found = asyncio.run(Tail(no_listener, lambda: Reader(entries)).account(OURS, UNIT))
    said = ("Failed to load environment files: No such file or directory",)
    assert found == Account(("hello",), said, Ended("ExecStartPost", 7, None))


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m and \x1b[1;4mloud\x1b[K", "red and loud"),
        ("\x1b]0;title\x07text", "text"),
        ("a\tb", "a   b"),
        ("bell\x07 back\x08 \x9b2J", "bell\ufffd back\ufffd \ufffd2J"),
        ("right\u202eto left", "right\ufffdto left"),
        ("ünïcode ✓", "ünïcode ✓"),
        ("x" * (LONGEST + 1), "x" * (LONGEST - 1) + "…"),
        ("trailing  \r", "trailing"),
    ],
)
def test_control_characters_are_replaced(line: str, shown: str) -> None:
    assert harmless(line) == shown
    assert harmless(shown) == shown


def test_bytes_and_fields_that_occur_twice(no_listener: Path) -> None:
    assert last(Reader([wrote(b"\xffx"), wrote(["one", "two"]), wrote(None)]), no_listener) == ("\ufffdx", "two")


def test_nothing_is_read_without_an_invocation(no_listener: Path) -> None:
    assert asyncio.run(Tail(no_listener, lambda: pytest.fail("opened")).last("")) == ()


def _raise(error: Exception) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


@pytest.mark.parametrize("error", [OSError(13, "no"), ValueError("no"), RuntimeError("no")])
def test_a_journal_that_cannot_be_read_is_no_error(no_listener: Path, error: Exception) -> None:
    assert asyncio.run(Tail(no_listener, _raise(error)).last(OURS)) == ()


def test_reading_has_a_deadline(no_listener: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "READ_TIMEOUT", 0.05)
    reader = Reader([wrote("", OTHER)] * 10_000, slow=0.02)
    assert last(reader, no_listener) == ()
    assert reader.read < 100
    many = Reader([wrote("ours")] + [wrote("", OTHER)] * 10_000)
    monkeypatch.setattr(tail, "READ_TIMEOUT", 3.0)
    assert last(many, no_listener) == ()
    assert many.read == tail.MOST_READ + tail.MOST_NOTICES


def synchronized(answer: bytes | None, path: Path) -> tuple[list[bytes], tuple[str, ...]]:
    """Return the request that a journald received which gives this answer (None: none), and what was read then."""
    heard: list[bytes] = []
    reader = Reader([wrote("words")])

    async def serve(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await stream.readuntil(b"\0"))
        assert not reader.read, "first journald has to catch up"
        if answer is not None:
            writer.write(answer)
            writer.close()
        else:
            await stream.read()
            writer.close()

    async def work() -> tuple[str, ...]:
        server = await asyncio.start_unix_server(serve, path)
        async with server:
            return await Tail(path, lambda: reader).last(OURS)

    return heard, asyncio.run(work())


@pytest.mark.parametrize(
    "answer", [b'{"parameters":{}}\0', b'{"error":"no"}\0', b"no JSON\0", b"", None, b"x" * 70_000]
)
def test_journald_is_synchronized_whatever_it_answers(
    answer: bytes | None, no_listener: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "SYNC_TIMEOUT", 0.5)
    assert synchronized(answer, no_listener) == ([b'{"method":"io.systemd.Journal.Synchronize"}\0'], ("words",))
