"""The message bus, and the only user of dbus-next.

This package knows no particular interface: systemd's is in systemd/manager.py, org.deployd1 in service/ (server side)
and api.py (client side). Other packages use `connection`. Below it, `wire` splits the stream into messages,
`subscriptions`, `calls` and `callers` decide which of them are accepted, and `bodies` marshals and unmarshals values.
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
