"""Splits the byte stream of a connection into messages. Headers are unmarshalled here, bodies are not.

Unmarshalling in Python takes 50 µs for a small message and seconds for a large one, and any client of the bus may send
either. The header therefore decides whether a message is wanted; the body of any other is skipped without buffering.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY_EXPECTED, ALLOW_INTERACTIVE_AUTHORIZATION = 0x1, 0x4

MOST_BYTES = 128 << 20
"""The longest message that D-Bus allows. A longer one means that the stream is not D-Bus."""

TURN, MOST_SKIPPED = 16 << 10, 256 << 10
"""Bytes to read in one iteration of the event loop. TURN is a hundred small messages, half a millisecond if they are
dropped; of a body that is skipped, up to MOST_SKIPPED, because skipping costs nothing."""

MOST_FIELDS = 16 << 10
"""Bytes of header fields. No valid path or signature is that long; a longer message is skipped without an answer."""

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
    """The stream is not D-Bus, so the start of the next message cannot be found."""


class Fields(NamedTuple):
    """The header fields of a message, "" or 0 for absent ones."""

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
    """The header of a message."""

    order: str
    """Byte order of the body in the notation of the struct module."""
    kind: int
    flags: int
    serial: int
    length: int
    """Length of the body in bytes."""
    fields: Fields


class Stream:
    """Splits a stream. `wanted` is called once with the header of each message; if it returns False, skip the body."""

    def __init__(self, wanted: Callable[[Header], bool]) -> None:
        self._wanted = wanted
        self._buffer = bytearray()
        self._skip = 0
        self._header: Header | None = None

    @property
    def appetite(self) -> int:
        """Bytes to pass to `feed` next, see TURN."""
        return TURN if self._skip <= TURN else min(self._skip, MOST_SKIPPED)

    def feed(self, data: bytes) -> Iterator[tuple[Header, bytes]]:
        """Add `data` to the stream and yield the messages that it completes. Raises Garbled."""
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
                        return  # the header is incomplete
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
        """Read the header at `at` if it is complete; return the offset of what follows it."""
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
    """Return the header fields, None if they are malformed.

    Cached, because repeated calls of one caller differ only in the serial, which is not among the fields.
    """
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
            name, expected = _FIELDS.get(code, ("", kind))  # the specification says to ignore unknown fields
            if kind != expected or at > len(data):
                return None
            if name:
                found[name] = value
    except (IndexError, struct.error, UnicodeDecodeError):
        return None
    return Fields(**found)  # type: ignore[arg-type]  # the kinds were compared
