"""Which instance gets a new connection: one small interface, and what stands behind it.

With `shared` routing all instances accept from one queue, and nothing is to be done. With `steered` routing each has
listening sockets of its own, and the kernel deals new connections out by shares that follow from the policy of
plan/routing.py. The rest of the daemon asks a `Router` and does not know which of the two it is.
"""

from __future__ import annotations

from deployd.routing.router import Router
from deployd.routing.view import Report, View

__all__ = ["Report", "Router", "View"]
