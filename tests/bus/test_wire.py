"""Splitting the byte stream of a bus into messages, in whatever pieces it arrives and whatever it contains."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

from dbus_next import Message, MessageType
from hypothesis import given
from hypothesis import strategies as st

from deployd.bus.wire import CALL, ERROR, MOST_FIELDS, RETURN, SIGNAL, Fields, Garbled, Header, Stream
from tests.attacks import raw

KINDS = {
    CALL: MessageType.METHOD_CALL,
    RETURN: MessageType.METHOD_RETURN,
    ERROR: MessageType.ERROR,
    SIGNAL: MessageType.SIGNAL,
}


def made(kind: int, serial: int, text: str) -> bytes:
    named: dict[str, Any] = {"path": "/org/example", "interface": "org.example.Interface", "member": "Member"}
    if kind in (RETURN, ERROR):
        named = {"reply_serial": serial + 1}
    if kind == ERROR:
        named["error_name"] = "org.example.Error"
    if text:
        named |= {"signature": "s", "body": [text]}
    sent = Message(message_type=KINDS[kind], serial=serial, destination=":1.7", **named)
    return bytes(sent._marshall())


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


messages = st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.integers(1, 99), st.text(max_size=60)), max_size=6)


@given(messages, st.lists(st.integers(0, 80), max_size=20), st.sets(st.integers(1, 99)))
def test_wanted_messages_arrive_whole_and_in_order(
    sent: list[tuple[int, int, str]], sizes: list[int], unwanted: set[int]
) -> None:
    asked: list[int] = []

    def wanted(header: Header) -> bool:
        asked.append(header.serial)
        return header.serial not in unwanted

    stream = Stream(wanted)
    data = b"".join(made(*item) for item in sent)
    got = [item for piece in cut(data, sizes) for item in stream.feed(piece)]
    assert asked == [serial for _, serial, _ in sent]
    assert [(header.kind, header.serial, body) for header, body in got] == [
        (kind, serial, raw.string(text) if text else b"") for kind, serial, text in sent if serial not in unwanted
    ]
    for header, body in got:
        assert header.length == len(body)
        assert (header.fields.destination, header.fields.signature) == (":1.7", "s" if body else "")
        assert header.fields.reply_serial == (header.serial + 1 if header.kind in (RETURN, ERROR) else 0)


@given(st.binary(max_size=400), st.integers(0, 400))
def test_arbitrary_bytes_raise_nothing_but_garbled(garbage: bytes, at: int) -> None:
    good = made(CALL, 1, "x" * 200)
    stream = Stream(lambda header: True)
    with contextlib.suppress(Garbled):
        list(stream.feed(good[:at] + garbage + good[at:]))


@given(st.binary(min_size=1, max_size=30), st.integers(0, 200))
def test_a_malformed_header_loses_its_own_message_only(garbage: bytes, at: int) -> None:
    first = bytearray(made(CALL, 1, "x"))
    fields = len(first) - 16 - len(raw.string("x"))
    first[16 : 16 + fields] = (bytes(first[16 : 16 + at % fields]) + garbage)[:fields].ljust(fields, b"\0")
    stream = Stream(lambda header: header.serial == 2)
    got = list(stream.feed(bytes(first) + made(CALL, 2, "y")))
    assert [header.serial for header, _ in got] == [2]


def test_messages_without_a_body_are_skipped() -> None:
    stream = Stream(lambda header: header.serial == 99)
    got = list(stream.feed(made(CALL, 1, "") * 50 + made(CALL, 99, "") + made(CALL, 1, "") * 50 + made(CALL, 99, "")))
    assert [header.serial for header, _ in got] == [99, 99]
    assert not stream._buffer


def test_an_unwanted_body_is_never_buffered() -> None:
    stream = Stream(lambda header: header.serial != 1)
    head = made(CALL, 1, "x" * 10_000_000)
    for at in range(0, len(head), 65536):
        assert list(stream.feed(head[at : at + 65536])) == []
        assert len(stream._buffer) == 0
    assert [header.serial for header, _ in stream.feed(made(CALL, 2, "y"))] == [2]


def test_unknown_header_fields_are_ignored() -> None:
    fields: list[raw.Field] = [(42, "s", "novel"), (raw.PATH, "o", "/a"), (raw.MEMBER, "s", "M"), (77, "u", 1)]
    [(header, body)] = Stream(lambda header: True).feed(raw.message(raw.CALL, 5, fields))
    assert (header.fields, body) == (Fields(path="/a", member="M"), b"")


def test_endless_header_fields_are_skipped() -> None:
    long: list[raw.Field] = [(raw.PATH, "o", "/" + "a" * MOST_FIELDS), (raw.MEMBER, "s", "M")]
    stream = Stream(lambda header: True)
    data = raw.message(raw.CALL, 1, long, b"x" * 9) + made(SIGNAL, 2, "y")
    got = [item for at in range(0, len(data), 4096) for item in stream.feed(data[at : at + 4096])]
    assert [header.serial for header, _ in got] == [2]


def test_big_endian_messages_are_read() -> None:
    data = bytearray(made(CALL, 7, "x"))
    swapped = struct.pack(">BBBBIII", ord("B"), CALL, 0, 1, 0, 7, 0)
    [(header, body)] = Stream(lambda header: True).feed(swapped)
    assert (header.order, header.serial, body) == (">", 7, b"")
    assert data[0] == ord("l")
