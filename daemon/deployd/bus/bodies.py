"""Values on their way from and to the wire, by dbus-next. Nothing leaves that the bus would hang up on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dbus_next import Message, Variant
from dbus_next._private.unmarshaller import Unmarshaller
from dbus_next.signature import SignatureTree

MOST_BYTES = 16 << 20
"""Of a message that we send; the system bus disconnects whoever sends more than 32 MiB (max_message_size)."""

MOST_TEXT = 2048
"""Characters of an error text."""

MOST_SIGNATURES = 1024
"""That dbus-next may remember: it remembers all, and the variants in a call may have any."""


class Unsendable(ValueError):
    """The bus would not take this message, and disconnect us instead."""


class Unreadable(ValueError):
    """The body is not what its signature says."""


def read(order: str, signature: str, data: bytes, *, signatures: bool = False) -> list[Any]:
    """The values of a body, variants unwrapped; with `signatures` those of an a{sv} stay pairs of signature and value,
    which can be sent as they are. Raises Unreadable."""
    if len(SignatureTree._cache) > MOST_SIGNATURES:
        SignatureTree._cache.clear()
    reader = Unmarshaller(None)
    reader.buf, reader.endian = bytearray(data), ord("l" if order == "<" else "B")
    try:
        values = [reader.read_argument(kind) for kind in SignatureTree._get(signature).types]
        return [_typed(value) if signatures else _unwrap(value) for value in values]
    except Exception as error:  # it knows no errors of its own: whatever its code stumbles over
        raise Unreadable(f"the body is no {signature!r}: {error!r}"[:MOST_TEXT]) from error


def marshal(body: list[Any], **fields: Any) -> bytes:
    """The bytes of a message: `fields` are Message's. Raises Unsendable."""
    if any("\n" in item for item in fields.values() if isinstance(item, str)):
        raise Unsendable("a name or path in it ends with a newline")  # which dbus-next's patterns let pass
    if _has_nul(body):
        raise Unsendable("it has a NUL character, which no string of D-Bus may have")
    try:
        data = bytes(Message(body=[_wrap(item) for item in body], **fields)._marshall())
    except Exception as error:  # dbus-next's own, and those of encode(), pack() and whatever else it trips over
        raise Unsendable(f"it does not fit its signature: {readable(repr(error), 200)}") from error
    if len(data) > MOST_BYTES:
        raise Unsendable(f"it has {len(data)} bytes, and at most {MOST_BYTES} are sent")
    return data


def readable(text: str, most: int = MOST_TEXT) -> str:
    """`text` as it may stand in an error: bounded, and nothing in it that a terminal or the bus would choke on."""
    if len(text) > most:
        text = f"{text[: most - 1]}…"
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode() for char in text
    )


def variant(signature: str, value: Any) -> Any:
    """A value to send where the signature says ``v``."""
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
    """Turn a mapping of (signature, value) pairs into an a{sv}, at any depth of the top level."""
    if isinstance(value, Mapping):
        return {key: Variant(*item) if isinstance(item, tuple) else item for key, item in value.items()}
    if isinstance(value, list):
        return [_wrap(item) for item in value]
    return value


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: (item.signature, _unwrap(item.value)) for key, item in value.items()}
    return _unwrap(value)


def _unwrap(value: Any) -> Any:
    if isinstance(value, Variant):
        return _unwrap(value.value)
    if isinstance(value, list):
        return [_unwrap(item) for item in value]
    if isinstance(value, dict):
        return {key: _unwrap(item) for key, item in value.items()}
    return value
