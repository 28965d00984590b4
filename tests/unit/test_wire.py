"""What is read from bytes is what dbus-next reads from them, in both byte orders."""

from __future__ import annotations

import io
from typing import Any

import pytest
from dbus_next import Message, Variant
from dbus_next._private.unmarshaller import Unmarshaller

from deployd import bus, wire

EVERY = {
    "y": Variant("y", 255),
    "yes": Variant("b", True),
    "no": Variant("b", False),
    "n": Variant("n", -2),
    "q": Variant("q", 2**16 - 1),
    "i": Variant("i", -(2**31)),
    "u": Variant("u", 2**32 - 1),
    "x": Variant("x", -(2**63)),
    "t": Variant("t", 2**64 - 1),
    "d": Variant("d", 0.1),
    "s": Variant("s", "ünïcödé 漢字 \U0001f680"),
    "empty": Variant("s", ""),
    "o": Variant("o", "/org/example"),
    "g": Variant("g", "a{sv}"),
    "InvocationID": Variant("ay", bytes(range(16))),
    "no bytes": Variant("ay", b""),
    "as": Variant("as", ["a", "", "ccc"]),
    "none": Variant("at", []),
    "at": Variant("at", [1, 2]),
    "Job": Variant("(uo)", [7, "/org/example/job/7"]),
    "nested": Variant("a{sv}", {"a": Variant("v", Variant("as", ["x"])), "b": Variant("a{sv}", {})}),
    "Conditions": Variant("a(sbbsi)", [["ConditionPathExists", True, False, "/x", 1], ["y", False, True, "", -1]]),
    "numbers": Variant("a{ut}", {1: 2, 3: 4}),
    "lists": Variant("aas", [["a"], [], ["b", "c"]]),
    "last": Variant("y", 1),
}


def message(body: dict[str, Variant]) -> bytes:
    signal = Message.new_signal("/org/example", "org.example", "Changed", "sa{sv}as", ["x", body, ["y"]])
    signal.serial = 1
    return bytes(signal._marshall())


def read(data: bytes, kind: type[Unmarshaller]) -> Any:
    return bus._unwrap(kind(io.BytesIO(data)).unmarshall().body)


@pytest.mark.parametrize("body", [EVERY, {}, *({name: value} for name, value in EVERY.items())])
def test_the_same_as_dbus_next(body: dict[str, Variant]) -> None:
    assert read(message(body), bus._Reader) == read(message(body), Unmarshaller)


@pytest.mark.parametrize(("little", "data"), [(True, b"\1\0\0\0\2\0\0\0x\0"), (False, b"\0\0\0\1\0\0\0\2x\0")])
def test_either_byte_order(little: bool, data: bytes) -> None:
    assert wire.reader("u", little)(data, 0) == (1, 4)
    assert wire.reader("u", little)(data, 3) == (2, 8)


@pytest.mark.parametrize("signature", ["", "z", "ss", "a", "a{s", "a{sv", "(", "()", "(s", "a{sv}s"])
def test_what_is_no_type_is_refused(signature: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        wire.reader(signature, True)
