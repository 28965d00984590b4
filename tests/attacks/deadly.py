"""Sends the daemon messages that might kill it, and prints those after which it did not reply.

    python3 -m tests.attacks.deadly

Uses the standard library only, because it runs on the test host as an ordinary user.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.attacks.raw import (
    CALL,
    DESTINATION,
    ERROR,
    ERROR_NAME,
    INTERFACE,
    MEMBER,
    NO_REPLY,
    PATH,
    REPLY_SERIAL,
    RETURN,
    SIGNAL,
    SIGNATURE,
    Field,
    Raw,
    call,
    message,
    string,
    strings,
)

NAME, ROOT = "org.deployd1", "/org/deployd1"
MANAGER, APP = f"{NAME}.Manager", f"{NAME}.App"
PROPERTIES, INTROSPECTABLE = "org.freedesktop.DBus.Properties", "org.freedesktop.DBus.Introspectable"
READERS = ("Describe", "History", "Units", "Releases", "Compare", "Pause", "Remove")
ODD = ("_00", "_ff", "_0a", "_1b_5b31m", "_e2_80_ae", "_ed_a0_80", "_2e_2e", "_2f", "_", "a" * 10_000, "_41" * 3000)
LONG = 17 << 20
NESTED = 60
"""Levels of nested variants. The bus allows 64 nested containers."""


def variants(depth: int) -> bytes:
    return b"\1v\0" * (depth - 1) + b"\1y\0\7"


def options(name: str, kind: str, value: bytes) -> bytes:
    """Return a body a{sv} with one entry whose value begins at a multiple of eight."""
    entry = string(name) + bytes([len(kind)]) + kind.encode() + b"\0"
    entry += bytes(-len(entry) & 7) + value
    return struct.pack("<II", len(entry), 0) + entry


def names() -> Iterator[tuple[str, bytes]]:
    """Yield calls about apps with invalid names."""
    for odd in ODD:
        for member in READERS:
            yield f"{member} of {odd:.20}", call(9, NAME, f"{ROOT}/app/{odd}", APP, member)
        yield f"Introspect of {odd:.20}", call(9, NAME, f"{ROOT}/app/{odd}", INTROSPECTABLE, "Introspect")
        yield f"GetAll of {odd:.20}", call(9, NAME, f"{ROOT}/app/{odd}", PROPERTIES, "GetAll", "s", string(APP))
    for text in ("\x1b[2J", "\u202e", "\n" * 9, "x" * 255, "x" * 15_000, "x" * LONG, "../../etc/passwd"):
        yield f"Check {text:.9}", call(9, NAME, ROOT, MANAGER, "Check", "s", string(text))


def bodies() -> Iterator[tuple[str, bytes]]:
    """Yield calls with invalid or oversized bodies."""
    yield "Check with array", call(9, NAME, ROOT, MANAGER, "Check", "ay", struct.pack("<I", LONG) + bytes(LONG))
    yield "Check with variants", call(9, NAME, ROOT, MANAGER, "Check", "v", variants(NESTED))
    yield "Check with structs", call(9, NAME, ROOT, MANAGER, "Check", "(" * 30 + "y" + ")" * 30, b"\7")
    yield "Check with many values", call(9, NAME, ROOT, MANAGER, "Check", "y" * 255, b"\7" * 255)
    for kind, value in (
        ("v", variants(NESTED - 9)),
        ("ay", struct.pack("<I", 3) + b"abc"),
        ("d", struct.pack("<d", float("nan"))),
    ):
        for member in ("Plan", "Rollout", "Apply", "Restart", "Abort"):
            body = options("release", kind, value)
            yield f"{member} with {kind}", call(9, NAME, f"{ROOT}/app/demo", APP, member, "a{sv}", body)
    for signature, body in (
        ("ss", strings(APP, "Name\n")),
        ("aas", bytes(4)),
        ("", b""),
        ("s", string("x")),
        ("vv", variants(9) + b"\1y\0\7"),
    ):
        for member in ("Get", "GetAll", "Set", "Nonsense"):
            yield f"{member} with {signature}", call(9, NAME, ROOT, PROPERTIES, member, signature, body)
    for generation in (0, 1 << 31, 1 << 32, (1 << 64) - 1):
        body = struct.pack("<Q", generation)
        yield f"LogMatches of {generation}", call(9, NAME, f"{ROOT}/app/demo", APP, "LogMatches", "t", body)


def shapes() -> Iterator[tuple[str, bytes]]:
    """Yield unusual messages. Those without a reply are followed by a call."""
    to: list[Field] = [
        (PATH, "o", ROOT),
        (INTERFACE, "s", MANAGER),
        (MEMBER, "s", "ListApps"),
        (DESTINATION, "s", NAME),
    ]
    plain = call(9, NAME, ROOT, MANAGER, "ListApps")
    yield "all flags", message(CALL, 9, to, flags=0xFE)
    yield "no interface", call(9, NAME, ROOT, "", "ListApps")
    yield "unknown field", message(CALL, 9, [(99, "s", "novel"), *to])
    yield "reply serial in a call", message(CALL, 9, [*to, (REPLY_SERIAL, "u", 1)])
    yield "unknown type", message(9, 8, to) + plain
    yield "an error", message(ERROR, 8, [*to, (ERROR_NAME, "s", "a.b"), (REPLY_SERIAL, "u", 3)]) + plain
    yield "a reply", message(RETURN, 8, [*to, (REPLY_SERIAL, "u", 3)]) + plain
    yield "a signal", message(SIGNAL, 8, [*to, (SIGNATURE, "g", "v")], variants(NESTED)) + plain
    yield "no reply", call(8, NAME, f"{ROOT}/app/_00", APP, "Describe", flags=NO_REPLY) + plain
    yield (
        "a path of 1 MiB",
        call(9, NAME, "/" + "a" * (1 << 20), APP, "Describe", flags=NO_REPLY)
        + call(10, NAME, ROOT, MANAGER, "ListApps"),
    )


def main() -> None:
    for what, data in (*names(), *bodies(), *shapes()):
        try:
            bus = Raw(timeout=15)
            bus.send(data)
            bus.reply(10 if "1 MiB" in what else 9)
            bus.close()
        except EOFError:
            pass  # the bus itself refused it
        except OSError as error:
            print(f"{what}: {error}", flush=True)


if __name__ == "__main__":
    main()
