"""Sends a signal to each name of the command line, and prints those to which the bus delivered it.

    python3 -m tests.attacks.addressed NAME…

Standard library only: it runs in the host, as its user.
"""

from __future__ import annotations

import struct
import sys

from tests.attacks.raw import DBUS, DESTINATION, ERROR, INTERFACE, MEMBER, PATH, RETURN, SIGNAL, Raw, call, message

REFUSED, NEXT = 7, 8


def delivered(bus: Raw, name: str) -> bool:
    """What the bus refuses is answered with an error before the call that follows it is answered."""
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
