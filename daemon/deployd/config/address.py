"""Listening addresses, normalised so that equal addresses are equal strings (systemd.socket(5), ListenStream=)."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from deployd.config import values
from deployd.config.source import Problem, kind
from deployd.model.address import LONGEST_PATH, address_of
from deployd.model.app import Listen, ListenKind

_ALLOWED = 'write "8080", "127.0.0.1:8080", "[::1]:8080" or "/run/app.sock"'


def listen(raw: Any) -> Listen:
    """Convert one address: a port, HOST:PORT, [V6]:PORT or an absolute path."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        raw = str(raw)
    if not isinstance(raw, str):
        raise Problem(f"an address must be a string, not {kind(raw)}; {_ALLOWED}")
    if raw.startswith("/"):
        path = values.path(raw)
        if path == "/" or raw.endswith("/"):
            raise Problem(f'"{raw}" is a directory; {_ALLOWED}')
        if len(path.encode()) > LONGEST_PATH:
            raise Problem(f'"{path}" is longer than {LONGEST_PATH} bytes, the limit for UNIX sockets; shorten it')
        if address_of(path) != path:
            raise Problem(f'"{path}" has a name that deployd gives to sockets itself; choose another one')
        return Listen(ListenKind.UNIX, path)
    if re.fullmatch(r"[0-9]+", raw):
        return Listen(ListenKind.TCP, str(_port(raw, raw)))
    host, colon, port = raw.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]+", port):
        raise Problem(f'"{raw}" is not an address with a port; {_ALLOWED}')
    return Listen(ListenKind.TCP, f"{_host(host, raw)}:{_port(port, raw)}")


def addresses(raw: Any) -> tuple[Listen, ...]:
    """Convert an array of at least one address, without duplicates."""
    if not isinstance(raw, list):
        raise Problem(f'must be an array, not {kind(raw)}; write it as ["127.0.0.1:8080"]')
    if not raw:
        raise Problem('must have at least one address; write it as ["127.0.0.1:8080"]')
    found = tuple(listen(item) for item in raw)
    seen: set[str] = set()
    for item in found:
        # A bare port listens on [::], which is the same socket (systemd.socket(5)).
        same = item.address.removeprefix("[::]:")
        if same in seen:
            raise Problem(f'"{item.address}" is listed twice; remove one of them')
        seen.add(same)
    return found


def _port(text: str, whole: str) -> int:
    if len(text) > 5 or not 1 <= int(text) <= 65535:
        raise Problem(f'"{whole}" has no usable port; ports are 1 to 65535')
    return int(text)


def _host(text: str, whole: str) -> str:
    try:
        if text.startswith("[") and text.endswith("]") and "%" not in text:
            return f"[{ipaddress.IPv6Address(text[1:-1])}]"
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise Problem(
            f'"{whole}": the host must be a literal IPv4 address or an IPv6 address in brackets, because systemd '
            f"resolves no names; {_ALLOWED}"
        ) from None
