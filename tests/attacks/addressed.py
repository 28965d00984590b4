"""Sends a signal to each name on the command line, and prints the names to which the bus delivered it.

    python3 -m tests.attacks.addressed NAME…

Uses the standard library only, because it runs on the test host as an ordinary user.
"""

from __future__ import annotations

import struct
import sys

from tests.attacks.raw import DBUS, DESTINATION, ERROR, INTERFACE, MEMBER, PATH, RETURN, SIGNAL, Raw, call, message

REFUSED, NEXT = 7, 8


def delivered(bus: Raw, name: str) -> bool:
    """True if the bus delivered a signal: a refusal arrives as an error before the reply to the next call."""
    fields = [(PATH, "o", "/a"), (INTERFACE, "s", "a.b"), (MEMBER, "s", "C"), (DESTINATION, "s", name)]
    bus.send(message(SIGNAL, REFUSED, fields) + call(NEXT, DBUS, "/org/freedesktop/DBus", DBUS, "GetId"))
    while True:
        received = bus.receive()
        if received[1] == ERROR and struct.pack("<BBBBI", 5, 1, ord("u"), 0, REFUSED) in received:
            bus.reply(NEXT)
            return False
        if received[1] == RETURN:
            return True


if __name__ == "__main__":
    bus = Raw()
    print(*[name for name in sys.argv[1:] if delivered(bus, name)])
