"""Unmarshals message bodies (D-Bus Specification, Marshalling). Pure.

dbus-next's own unmarshaller takes many times as long, which was most of what a signal of systemd cost. A signature
becomes functions once; of a dictionary, entries that no handler wants are skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

Read = Callable[[bytes, int], tuple[Any, int]]
"""(body, offset) to the value at or after the offset, aligned, and the offset of what follows it."""

_FIXED = {"y": "B", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "b": "I", "h": "I"}
_WIDTHS = {ord(kind): struct.calcsize(f"={form}") for kind, form in _FIXED.items()}
_ALIGNED_TO_8 = "({xtd"
_WIDE = _ALIGNED_TO_8.encode()
_ARRAY = ord("a")
MOST_DEPTH = 64
"""Containers in one another. D-Bus allows 32 arrays and 32 structures."""


@lru_cache(maxsize=1024)
def reader(order: str, signature: str) -> tuple[Read, ...]:
    """Return the functions that read the values of a signature, in the byte order `order` of the struct module.

    Raises ValueError for one that is malformed. The cache is limited: variants may have arbitrary signatures.
    """
    found, at = [], 0
    while at < len(signature):
        read, at = _compiled(order, signature, at, 0)
        found.append(read)
    return tuple(found)


@lru_cache(maxsize=16)
def dictionary(order: str, wanted: frozenset[str] | None, *, signatures: bool) -> Read:
    """Return the function that reads an a{sv}, all of it or the `wanted` keys.

    With `signatures`, the values are pairs of signature and value.
    """
    length, string, skip = struct.Struct(f"{order}I").unpack_from, _string(order), _skip(order)
    keys = None if wanted is None else {key.encode(errors="surrogatepass") for key in wanted}

    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        at = (at + 3) & -4
        size = length(data, at)[0]
        at = (at + 4 + 7) & -8
        end, found = at + size, dict[str, Any]()
        while at < end:
            at = (at + 7) & -8
            after = at + 4 + length(data, at)[0]
            if keys is None or data[at + 4 : after] in keys:
                key, at = string(data, at)
                kind, at = _signature(data, at)
                value, at = _single(order, kind)(data, at)
                found[key] = (kind, value) if signatures else value
            else:
                at = skip(data, after + 1)
        return found, _exactly(at, end, data)

    return read


def _compiled(order: str, signature: str, at: int, depth: int) -> tuple[Read, int]:
    """Return the function for the complete type at an offset of a signature, and the offset of the next one."""
    kind = signature[at : at + 1]
    if depth > MOST_DEPTH:
        raise ValueError("the signature is nested too deeply")
    if kind in _FIXED:
        return _fixed(order, kind), at + 1
    if kind in ("s", "o"):
        return _string(order), at + 1
    if kind == "g":
        return _signature, at + 1
    if kind == "v":
        return _variant(order), at + 1
    if kind == "(":
        parts, at = [], at + 1
        while signature[at : at + 1] != ")":
            part, at = _compiled(order, signature, at, depth + 1)
            parts.append(part)
        if not parts:
            raise ValueError("the signature has an empty structure")
        return _structure(parts), at + 1
    if kind == "a" and signature[at + 1 : at + 2] == "{":
        key, at = _compiled(order, signature, at + 2, depth + 1)
        value, at = _compiled(order, signature, at, depth + 1)
        if signature[at : at + 1] != "}":
            raise ValueError("the signature has a malformed dictionary")
        return _mapping(order, key, value), at + 1
    if kind == "a":
        item, end = _compiled(order, signature, at + 1, depth + 1)
        first = signature[at + 1]
        return _array(order, item, 8 if first in _ALIGNED_TO_8 else 1, plain=first == "y"), end
    raise ValueError(f"the signature {signature!r} is malformed")


def _fixed(order: str, kind: str) -> Read:
    form = struct.Struct(order + _FIXED[kind])
    unpack, size = form.unpack_from, form.size
    if kind == "b":
        return lambda data, at: (bool(unpack(data, (at + 3) & -4)[0]), (at + 3 & -4) + 4)
    return lambda data, at: (unpack(data, (at + size - 1) & -size)[0], (at + size - 1 & -size) + size)


@lru_cache(maxsize=2)
def _string(order: str) -> Read:
    length = struct.Struct(f"{order}I").unpack_from

    def read(data: bytes, at: int) -> tuple[str, int]:
        at = (at + 3) & -4
        end = at + 4 + length(data, at)[0]
        return data[at + 4 : end].decode(), _exactly(end + 1, end + 1, data)

    return read


def _signature(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode("ascii"), end + 1


@lru_cache(maxsize=2)
def _variant(order: str) -> Read:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        kind, at = _signature(data, at)
        return _single(order, kind)(data, at)

    return read


def _single(order: str, signature: str) -> Read:
    (read,) = reader(order, signature)  # ValueError unless it is one complete type
    return read


def _structure(parts: list[Read]) -> Read:
    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        at, values = (at + 7) & -8, []
        for part in parts:
            value, at = part(data, at)
            values.append(value)
        return values, at

    return read


def _array(order: str, item: Read, alignment: int, *, plain: bool) -> Read:
    length = struct.Struct(f"{order}I").unpack_from

    def read(data: bytes, at: int) -> tuple[Any, int]:
        at = (at + 3) & -4
        size = length(data, at)[0]
        at = (at + 4 + alignment - 1) & -alignment
        end = at + size
        if plain:
            return bytes(data[at:end]), _exactly(end, end, data)
        values = []
        while at < end:
            value, at = item(data, at)
            values.append(value)
        return values, _exactly(at, end, data)

    return read


def _mapping(order: str, key: Read, value: Read) -> Read:
    length = struct.Struct(f"{order}I").unpack_from

    def read(data: bytes, at: int) -> tuple[dict[Any, Any], int]:
        at = (at + 3) & -4
        size = length(data, at)[0]
        at = (at + 4 + 7) & -8
        end, found = at + size, {}
        while at < end:
            name, at = key(data, (at + 7) & -8)
            found[name], at = value(data, at)
        return found, _exactly(at, end, data)

    return read


@lru_cache(maxsize=2)
def _skip(order: str) -> Callable[[bytes, int], int]:
    """Return the function that returns the offset of what follows a variant. Arrays are not looked into."""
    length = struct.Struct(f"{order}I").unpack_from

    def skip(data: bytes, at: int) -> int:
        size, code = data[at], data[at + 1]
        after = at + 2 + size
        if size == 1 and (width := _WIDTHS.get(code)):
            return ((after + width - 1) & -width) + width
        if size == 1 and code in b"so":
            after = (after + 3) & -4
            end = after + 5 + length(data, after)[0]
            return _exactly(end, end, data)
        if size > 1 and code == _ARRAY:
            after = (after + 3) & -4
            end = length(data, after)[0] + ((after + 4 + 7) & -8 if data[at + 2] in _WIDE else after + 4)
            return _exactly(end, end, data)
        kind, at = _signature(data, at)
        return _single(order, kind)(data, at)[1]

    return skip


def _exactly(at: int, end: int, data: bytes) -> int:
    """Return `at` if it is the `end` of a value, within the body. Raises ValueError."""
    if at != end or end > len(data):
        raise ValueError("a value has another length than it claims")
    return at
