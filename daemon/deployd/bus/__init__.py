"""The message bus, and the only user of dbus-next.

It knows no interface of anybody: systemd's is in systemd/manager.py, ours in service/ (server side) and api.py (client
side). `connection` is what the others use; below it `wire` cuts the stream into messages, `subscriptions` and `callers`
say which of them are let in, `bodies` turns values into bytes and back.
"""

from deployd.bus.bodies import variant
from deployd.bus.calls import MOST_CALLS
from deployd.bus.connection import Bus
from deployd.bus.messages import DBUS, BusError, Credentials, MethodCall, Reply, Signal

__all__ = [
    "DBUS",
    "MOST_CALLS",
    "Bus",
    "BusError",
    "Credentials",
    "MethodCall",
    "Reply",
    "Signal",
    "variant",
]
