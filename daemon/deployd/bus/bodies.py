"""Marshals and unmarshals message bodies. Refuses messages for which the bus would disconnect us."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from dbus_next import Message, Variant

from deployd.bus.reader import Read, dictionary, reader

MOST_BYTES = 16 << 20
"""Longest message that is sent. The system bus disconnects the sender of more than 32 MiB (max_message_size)."""

MOST_TEXT = 2048
"""Characters of an error message."""

DICTIONARY = "a{sv}"
_LENGTH, _LENGTHS = struct.Struct("<I"), struct.Struct("<II")


class Unsendable(ValueError):
    """The bus would not accept this message but disconnect us."""


class Unreadable(ValueError):
    """The body does not match its signature."""


def read(
    order: str,
    signature: str,
    data: bytes,
    *,
    signatures: bool = False,
    wanted: frozenset[str] | None = None,
) -> list[Any]:
    """Unmarshal a body, variants unwrapped. Raises Unreadable.

    With `signatures`, the values of an a{sv} are pairs of signature and value, which `marshal` accepts as they are.
    With `wanted`, it has these keys only.
    """
    values, at = [], 0
    try:
        steps: Iterable[Read] = reader(order, signature)
        if signatures or wanted is not None:
            before, found, after = signature.partition(DICTIONARY)
            chosen = [dictionary(order, wanted, signatures=signatures)] if found else []
            steps = (*reader(order, before), *chosen, *reader(order, after))
        for step in steps:
            value, at = step(data, at)
            values.append(value)
        if at > len(data):
            raise ValueError("it is too short")
        return values
    except Exception as error:  # malformed bytes raise anything
        raise Unreadable(f"the body does not match its signature {signature!r}: {error!r}"[:MOST_TEXT]) from error


def marshal(body: list[Any], **fields: Any) -> bytes:
    """Marshal a message; `fields` are the arguments of dbus-next's Message. Raises Unsendable."""
    if any("\n" in item for item in fields.values() if isinstance(item, str)):
        # The patterns of dbus-next accept a newline at the end.
        raise Unsendable("a name or path in the message contains a newline")
    if _has_nul(body):
        raise Unsendable("the message contains a NUL character, which D-Bus allows in no string")
    try:
        if fields.get("signature", "") == "s" * len(body) and all(isinstance(item, str) for item in body):
            data = _of_strings(body, **fields)
        else:
            message = Message(body=[_wrap(item) for item in body], **fields)
            data = bytes(message._marshall(negotiate_unix_fd=bool(message.unix_fds)))
    except Exception as error:  # dbus-next's own errors, and those of encode(), pack() and others inside it
        raise Unsendable(f"the body does not match its signature: {readable(repr(error), 200)}") from error
    if len(data) > MOST_BYTES:
        raise Unsendable(f"the message is {len(data)} bytes long; the limit is {MOST_BYTES} bytes")
    return data


def _of_strings(body: list[str], *, serial: int, **fields: Any) -> bytes:
    """Return a message whose body consists of strings, as most do, with the header of an earlier one like it."""
    parts, length = [], 0
    for text in body:
        padding, encoded = -length & 3, text.encode()
        parts.append(b"%b%b%b\0" % (bytes(padding), _LENGTH.pack(len(encoded)), encoded))
        length += len(parts[-1])
    start, end = _header(**fields)
    return b"".join((start, _LENGTHS.pack(length, serial), end, *parts))


@lru_cache(maxsize=2048)
def _header(**fields: Any) -> tuple[bytes, bytes]:
    """Return what is before and after the length of the body and the serial in a header, which dbus-next checks."""
    body = [""] * len(fields.get("signature", ""))
    data = bytes(Message(body=body, serial=1, **fields)._marshall())
    length, _ = _LENGTHS.unpack_from(data, 4)
    return data[:4], data[4 + _LENGTHS.size : len(data) - length]


def readable(text: str, most: int = MOST_TEXT) -> str:
    """Return `text` for an error message: at most `most` characters, those that cannot be printed escaped."""
    if len(text) > most:
        text = f"{text[: most - 1]}…"
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode() for char in text
    )


def variant(signature: str, value: Any) -> Any:
    """Return a value to send where the signature has ``v``."""
    return Variant(signature, value)


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Variant):
        return _has_nul(value.value)
    if isinstance(value, Mapping):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return any(_has_nul(item) for item in value)
    return False


def _wrap(value: Any) -> Any:
    """Turn mappings to (signature, value) pairs, also those in lists, into a{sv}."""
    if isinstance(value, Mapping):
        return {key: Variant(*item) if isinstance(item, tuple) else item for key, item in value.items()}
    if isinstance(value, list):
        return [_wrap(item) for item in value]
    return value
