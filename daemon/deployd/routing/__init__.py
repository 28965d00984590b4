"""Which instance gets a new connection: a Router that chooses between two backends.

With `shared` routing all instances accept from one queue, and nothing is to be done. With `steered` routing each has
listening sockets of its own, and the kernel deals new connections out by shares that follow from the policy of
plan/routing.py. The rest of the daemon calls `Router.backend`, whichever it is.
"""

from __future__ import annotations

from deployd.routing.interface import Report, View
from deployd.routing.router import Router

__all__ = ["Report", "Router", "View"]
