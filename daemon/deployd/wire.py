"""Reads D-Bus values from bytes: the types of the specification's "Marshaling", to plain Python values.

Signals that carry a{sv} are nearly all that the daemon reads, and dbus-next takes four times as long for them: it
makes an object of each variant and finds out anew how to read its signature. Pure; imports nothing of deployd.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Any

Data = bytes | bytearray
Read = Callable[[Data, int], tuple[Any, int]]
"""(data, offset) to (value, offset behind it). Offsets count from the start of the message: alignment does."""

FIXED = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "h": "I"}
EIGHT = "xtd({"
"""What aligns to eight bytes, and so the elements of an array do."""


@lru_cache(maxsize=512)
def reader(signature: str, little: bool) -> Read:
    """What reads one complete type. Raises ValueError for a signature that is none."""
    read, rest = _reader(signature, "<" if little else ">")
    if rest:
        raise ValueError(f"{signature!r} is not one complete D-Bus type")
    return read


def _reader(signature: str, order: str) -> tuple[Read, str]:
    """What reads the first type of `signature`, and the types behind it."""
    kind, rest = signature[:1], signature[1:]
    if kind in FIXED and kind:
        return _fixed(kind, order), rest
    match kind:
        case "s" | "o":
            return _text(order), rest
        case "g":
            return _signature, rest
        case "v":
            return _variant(order), rest
        case "a" if rest[:1] == "{":
            key, rest = _reader(rest[1:], order)
            value, rest = _reader(rest, order)
            if rest[:1] == "}":
                return _dictionary(key, value, order), rest[1:]
        case "a" if rest[:1] == "y":
            return _bytes(order), rest[1:]
        case "a":
            element, behind = _reader(rest, order)
            return _list(element, rest[0] in EIGHT, order), behind
        case "(":
            members = []
            while rest[:1] not in ("", ")"):
                member, rest = _reader(rest, order)
                members.append(member)
            if rest and members:
                return _struct(members), rest[1:]
    raise ValueError(f"{signature!r} is not a D-Bus signature")


def _fixed(kind: str, order: str) -> Read:
    form = Struct(order + FIXED[kind])
    unpack, size = form.unpack_from, form.size

    def fixed(data: Data, at: int) -> tuple[Any, int]:
        at += -at % size
        return unpack(data, at)[0], at + size

    def boolean(data: Data, at: int) -> tuple[Any, int]:
        value, at = fixed(data, at)
        return bool(value), at

    return boolean if kind == "b" else fixed


def _text(order: str) -> Read:
    length = Struct(order + "I").unpack_from

    def text(data: Data, at: int) -> tuple[Any, int]:
        at += -at % 4
        start = at + 4
        end = start + length(data, at)[0]
        return str(data[start:end], "utf-8"), end + 1

    return text


def _signature(data: Data, at: int) -> tuple[Any, int]:
    end = at + 1 + data[at]
    return str(data[at + 1 : end], "ascii"), end + 1


def _variant(order: str) -> Read:
    little = order == "<"

    def variant(data: Data, at: int) -> tuple[Any, int]:
        end = at + 1 + data[at]
        return reader(str(data[at + 1 : end], "ascii"), little)(data, end + 1)

    return variant


def _bytes(order: str) -> Read:
    length = Struct(order + "I").unpack_from

    def octets(data: Data, at: int) -> tuple[Any, int]:
        at += -at % 4
        end = at + 4 + length(data, at)[0]
        return bytes(data[at + 4 : end]), end

    return octets


def _list(element: Read, eight: bool, order: str) -> Read:
    length = Struct(order + "I").unpack_from

    def elements(data: Data, at: int) -> tuple[Any, int]:
        at += -at % 4
        size = length(data, at)[0]
        at += 4
        at += -at % 8 if eight else 0  # not counted in the size
        end, found = at + size, []
        while at < end:
            value, at = element(data, at)
            found.append(value)
        return found, at

    return elements


def _dictionary(key: Read, value: Read, order: str) -> Read:
    length = Struct(order + "I").unpack_from

    def dictionary(data: Data, at: int) -> tuple[Any, int]:
        at += -at % 4
        size = length(data, at)[0]
        at += 4
        at += -at % 8
        end, found = at + size, {}
        while at < end:
            name, at = key(data, at + -at % 8)
            found[name], at = value(data, at)
        return found, at

    return dictionary


def _struct(members: list[Read]) -> Read:
    def struct(data: Data, at: int) -> tuple[Any, int]:
        at += -at % 8
        found = []
        for member in members:
            value, at = member(data, at)
            found.append(value)
        return found, at

    return struct
