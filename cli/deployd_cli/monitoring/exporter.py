"""Serves metrics over HTTP at a socket that systemd passes, and as text.

Each scrape asks the daemon once, on a connection of its own; a daemon that does not run is not started.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from deployd.errors import DeploydError, Unreachable
from deployd.model import advice
from deployd_cli.monitoring.families import families
from deployd_cli.output import message
from deployd_cli.session import connect

FIRST_PASSED = 3
"""The descriptor of the first socket that systemd passes (sd_listen_fds(3))."""
TIMEOUT = 5.0
"""Seconds within which the daemon must answer: Prometheus waits for ten."""
SLOWEST = 10.0
"""Seconds within which a client must send its request."""
IDLE = 600.0
"""Seconds without a connection after which the server ends; the next connection starts it again."""


class Apps(Collector):
    """Collects the metrics of all apps. Why the daemon does not answer is reported once, not with each scrape."""

    def __init__(self) -> None:
        self._reported = ""

    def collect(self) -> Iterable[Metric]:
        try:
            answer = asyncio.run(_described())
        except DeploydError as error:
            if str(error) != self._reported:
                message(f"deployd: {error}")
            self._reported = str(error)
            return families(None)
        self._reported = ""
        return families(answer)


async def _described() -> dict[str, Any]:
    async with await connect(TIMEOUT) as client:
        if not await client.present():
            raise Unreachable(f"the daemon is not running; start it with: {advice.systemctl()} start deployd")
        return await client.describe(timeout=TIMEOUT)


def registry() -> CollectorRegistry:
    """Return a registry with the metrics of deployd and nothing else."""
    made = CollectorRegistry()
    made.register(Apps())
    return made


def text() -> str:
    """Return the metrics in Prometheus' text format, which the textfile collector of node_exporter reads."""
    return generate_latest(registry()).decode()


class _Handler(WSGIRequestHandler):
    timeout = SLOWEST

    def log_message(self, format: str, *args: Any) -> None:
        """Log no request: there is one every few seconds."""


class _Server(ThreadingMixIn, WSGIServer):
    """Has a thread for each connection, so that a slow client does not keep others waiting."""

    address_family = socket.AF_UNIX  # of a socket that the base class makes: the unit allows no other family
    daemon_threads = True
    timeout = IDLE

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = "deployd", 0
        self.setup_environ()
        self.idle = False

    def get_request(self) -> tuple[socket.socket, Any]:
        request, address = self.socket.accept()
        return request, address or ("", 0)  # a client at a UNIX socket has no address

    def handle_timeout(self) -> None:
        self.idle = True


def serve() -> None:
    """Serve at the socket that systemd passes until no client has come for IDLE seconds. Raises DeploydError."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        start = f"{advice.systemctl()} start deployd-metrics.socket"
        raise DeploydError(f"no socket was passed; start it with: {start}")
    gc.enable()  # off until here, see main
    with _Server(socket.socket(fileno=FIRST_PASSED)) as server:
        server.set_app(make_wsgi_app(registry()))
        while not server.idle:
            server.handle_request()
