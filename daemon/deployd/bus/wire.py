"""The byte stream of a connection, cut into messages. Headers are read here, bodies are not.

Unmarshalling in Python costs 50 µs for a small message and seconds for a large one, and whoever is on the bus may send
any. So it is decided by the header what is wanted; the body of anything else is skipped as it arrives, never collected.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY_EXPECTED, ALLOW_INTERACTIVE_AUTHORIZATION = 0x1, 0x4

MOST_BYTES = 128 << 20
"""The longest message that D-Bus allows. What claims to be longer is no message."""

TURN, MOST_SKIPPED = 16 << 10, 256 << 10
"""Bytes to read in one turn of the loop: a hundred small messages, half a millisecond if they are dropped; of
a body that is skipped more, for that costs nothing."""

MOST_FIELDS = 16 << 10
"""Bytes of header fields. A path or a signature is never as long; whoever sends more gets no answer."""

_FIXED = {ord("l"): ("<", struct.Struct("<BBBBIII")), ord("B"): (">", struct.Struct(">BBBBIII"))}
_FIELDS = {
    1: ("path", "o"),
    2: ("interface", "s"),
    3: ("member", "s"),
    4: ("error_name", "s"),
    5: ("reply_serial", "u"),
    6: ("destination", "s"),
    7: ("sender", "s"),
    8: ("signature", "g"),
    9: ("unix_fds", "u"),
}


class Garbled(ValueError):
    """The stream is not D-Bus, and there is no way to find the next message in it."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The header fields of a message, "" or 0 for what is missing."""

    path: str = ""
    interface: str = ""
    member: str = ""
    error_name: str = ""
    reply_serial: int = 0
    destination: str = ""
    sender: str = ""
    signature: str = ""
    unix_fds: int = 0


class Header(NamedTuple):
    """What is known of a message without its body."""

    order: str
    """Byte order of the body, as the struct module writes it."""
    kind: int
    flags: int
    serial: int
    length: int
    """Bytes of the body."""
    fields: Fields


class Stream:
    """Cuts what it is fed. `wanted` is asked once for each message, with its header; the others are skipped."""

    def __init__(self, wanted: Callable[[Header], bool]) -> None:
        self._wanted = wanted
        self._buffer = bytearray()
        self._skip = 0
        self._header: Header | None = None

    @property
    def appetite(self) -> int:
        """Bytes to feed it with next: see TURN."""
        return TURN if self._skip <= TURN else min(self._skip, MOST_SKIPPED)

    def feed(self, data: bytes) -> Iterator[tuple[Header, bytes]]:
        """Take `data` and yield the messages that it completes. Raises Garbled."""
        if self._skip >= len(data):
            self._skip -= len(data)
            return
        buffer, at = self._buffer, 0
        buffer += data
        try:
            while True:
                step = min(self._skip, len(buffer) - at)
                at += step
                self._skip -= step
                if self._header is None:
                    after = self._next(at)
                    if after == at and not self._skip:
                        return  # there is no whole header
                    at = after
                header = self._header
                if header is None:
                    if self._skip and at == len(buffer):
                        return
                    continue
                if len(buffer) - at < header.length:
                    return
                body = bytes(buffer[at : at + header.length])
                at += header.length
                self._header = None
                yield header, body
        finally:
            del buffer[:at]

    def _next(self, at: int) -> int:
        """Read the header at `at`, if all of it is there; return where what follows it begins."""
        buffer = self._buffer
        if self._skip or len(buffer) - at < 16:
            return at
        try:
            order, fixed = _FIXED[buffer[at]]
        except KeyError:
            raise Garbled(f"a message begins with byte {buffer[at]:#04x}") from None
        _, kind, flags, _, length, serial, size = fixed.unpack_from(buffer, at)
        whole = 16 + size + (-size & 7)
        if whole + length > MOST_BYTES:
            raise Garbled(f"a message claims to be {whole + length} bytes long")
        if size > MOST_FIELDS:
            self._skip = whole + length
            return at
        if len(buffer) - at < whole:
            return at
        fields = _fields(order, bytes(buffer[at + 16 : at + 16 + size]))
        header = None if fields is None else Header(order, kind, flags, serial, length, fields)
        if header is None or not self._wanted(header):
            self._skip = length
        else:
            self._header = header
        return at + int(whole)


@lru_cache(maxsize=256)
def _fields(order: str, data: bytes) -> Fields | None:
    """The header fields, None if they are malformed. The calls of one caller differ in nothing but the serial, which is
    not among them: a flood is read once."""
    found: dict[str, str | int] = {}
    at = 0
    try:
        while at < len(data):
            at += -at & 7
            code, length, kind = data[at], data[at + 1], chr(data[at + 2])
            at += 4
            value: str | int
            if length != 1:
                return None
            if kind in "so":
                end = at + 4 + int(struct.unpack_from(f"{order}I", data, at)[0])
                value = data[at + 4 : end].decode()
                at = end + 1
            elif kind == "g":
                end = at + 1 + data[at]
                value = data[at + 1 : end].decode()
                at = end + 1
            elif kind == "u":
                value = int(struct.unpack_from(f"{order}I", data, at)[0])
                at += 4
            else:
                return None
            name, expected = _FIELDS.get(code, ("", kind))  # unknown ones are to be ignored, says the specification
            if kind != expected or at > len(data):
                return None
            if name:
                found[name] = value
    except (IndexError, struct.error, UnicodeDecodeError):
        return None
    return Fields(**found)  # type: ignore[arg-type]  # the kinds were compared
