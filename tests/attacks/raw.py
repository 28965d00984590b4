"""A D-Bus connection that sends arbitrary bytes, for attacks.

Uses the standard library only, because it runs on the test host as an ordinary user.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable

SYSTEM_BUS = "/run/dbus/system_bus_socket"
CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY = 0x1
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SENDER, SIGNATURE = range(1, 9)
DBUS = "org.freedesktop.DBus"

Field = tuple[int, str, str | int]


def string(text: str | bytes, at: int = 0) -> bytes:
    """Marshal a string that begins at offset `at`, with padding before it."""
    data = text if isinstance(text, bytes) else text.encode()
    return bytes(-at & 3) + struct.pack("<I", len(data)) + data + b"\0"


def strings(*texts: str) -> bytes:
    """Marshal a body of strings."""
    body = b""
    for text in texts:
        body += string(text, len(body))
    return body


def properties(interface: str, values: dict[str, str | int]) -> bytes:
    """Marshal the body of PropertiesChanged: sa{sv}as."""
    body = string(interface)
    body += bytes(-len(body) & 3)
    at = len(body) + 4
    entries = bytes(-at & 7)
    padding = len(entries)
    for name, value in values.items():
        entries += bytes(-(at + len(entries)) & 7)
        entries += string(name, at + len(entries))
        kind = "s" if isinstance(value, str) else "u"
        entries += bytes([1, ord(kind), 0])
        if isinstance(value, str):
            entries += string(value, at + len(entries))
        else:
            entries += bytes(-(at + len(entries)) & 3) + struct.pack("<I", value)
    body += struct.pack("<I", len(entries) - padding) + entries
    return body + bytes(-len(body) & 3) + struct.pack("<I", 0)


def message(kind: int, serial: int, fields: Iterable[Field], body: bytes = b"", flags: int = 0) -> bytes:
    """Marshal a message without any checks."""
    block = b""
    for code, signature, value in fields:
        block += bytes(-len(block) & 7) + bytes([code, 1, ord(signature), 0])
        if signature == "u":
            block += struct.pack("<I", int(value))
        elif signature == "g":
            text = str(value).encode()
            block += bytes([len(text)]) + text + b"\0"
        else:
            block += string(str(value))
    head = struct.pack("<BBBBIII", ord("l"), kind, flags, 1, len(body), serial, len(block))
    return head + block + bytes(-len(block) & 7) + body


def call(
    serial: int,
    destination: str,
    path: str,
    interface: str,
    member: str,
    signature: str = "",
    body: bytes = b"",
    flags: int = 0,
) -> bytes:
    """Marshal a method call."""
    fields: list[Field] = [(PATH, "o", path), (MEMBER, "s", member), (DESTINATION, "s", destination)]
    if interface:
        fields.append((INTERFACE, "s", interface))
    if signature:
        fields.append((SIGNATURE, "g", signature))
    return message(CALL, serial, fields, body, flags)


def signal(destination: str, path: str, interface: str, member: str, signature: str, body: bytes) -> bytes:
    """Marshal a signal addressed to one connection."""
    fields: list[Field] = [(PATH, "o", path), (INTERFACE, "s", interface), (MEMBER, "s", member)]
    fields += [(DESTINATION, "s", destination), (SIGNATURE, "g", signature)]
    return message(SIGNAL, 1, fields, body)


class Raw:
    """A connection. `receive` returns whole messages as bytes."""

    def __init__(self, address: str = SYSTEM_BUS, timeout: float = 20.0) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(address)
        self._buffer = b""
        self.socket.sendall(b"\0AUTH EXTERNAL %s\r\n" % str(os.getuid()).encode().hex().encode())
        while not self._buffer.endswith(b"\r\n"):
            self._buffer += self._more()
        assert self._buffer.startswith(b"OK"), self._buffer
        self._buffer = b""
        self.socket.sendall(b"BEGIN\r\n" + call(1, DBUS, "/org/freedesktop/DBus", DBUS, "Hello"))
        self.name = _first_string(self.reply(1))

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def names(self) -> list[str]:
        """Return the unique names of all other connections."""
        self.send(call(2, DBUS, "/org/freedesktop/DBus", DBUS, "ListNames"))
        body = _body(self.reply(2))
        found, at = [], 4
        while at < len(body):
            at += -at & 3
            (length,) = struct.unpack_from("<I", body, at)
            found.append(body[at + 4 : at + 4 + length].decode())
            at += 5 + length
        return [name for name in found if name.startswith(":") and name != self.name]

    def reply(self, serial: int) -> bytes:
        """The next reply to the call with this serial; what comes before is dropped."""
        while True:
            received = self.receive()
            if (
                received[1] in (RETURN, ERROR)
                and struct.pack("<BBBBI", REPLY_SERIAL, 1, ord("u"), 0, serial) in received
            ):
                return received

    def receive(self) -> bytes:
        while True:
            if len(self._buffer) >= 16:
                length, _, size = struct.unpack_from("<III", self._buffer, 4)
                whole = 16 + size + (-size & 7) + length
                if len(self._buffer) >= whole:
                    received, self._buffer = self._buffer[:whole], self._buffer[whole:]
                    return received
            self._buffer += self._more()

    def close(self) -> None:
        self.socket.close()

    def _more(self) -> bytes:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError("the bus closed the connection")
        return data


def _body(received: bytes) -> bytes:
    (length,) = struct.unpack_from("<I", received, 4)
    return received[len(received) - length :]


def _first_string(received: bytes) -> str:
    body = _body(received)
    return body[4 : 4 + struct.unpack_from("<I", body)[0]].decode()
