"""Decides which instance of an app gets a new connection. A Router chooses between two backends.

With `shared` routing all instances accept from one queue, and there is nothing to do. With `steered` routing each
instance has TCP sockets of its own, to which the kernel distributes new connections by weights, and each generation has
one UNIX socket. The policy is in plan/routing.py and plan/unix_routing.py. Other rooms call `Router.backend`.
"""

from __future__ import annotations

from deployd.routing.report import Report
from deployd.routing.router import Router
from deployd.routing.snapshot import Snapshot

__all__ = ["Report", "Router", "Snapshot"]
