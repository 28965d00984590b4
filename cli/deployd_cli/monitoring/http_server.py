"""An HTTP server at a socket that systemd passes. It ends when no client has come for a while."""

from __future__ import annotations

import gc
import os
import socket
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import WSGIApplication

from deployd.errors import DeploydError
from deployd.model import advice

FIRST_PASSED = 3
"""The descriptor of the first socket that systemd passes (sd_listen_fds(3))."""
SLOWEST = 10.0
"""Seconds within which a client must send its request."""
IDLE = 600.0
"""Seconds without a connection after which the server ends; the next connection starts it again."""


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


def serve(application: WSGIApplication, unit: str) -> None:
    """Serve at the socket of `unit` until no client has come for IDLE seconds. Raises DeploydError without a socket."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        raise DeploydError(f"no socket was passed; start it with: {advice.systemctl()} start {unit}")
    gc.enable()  # off until here, see main
    with _Server(socket.socket(fileno=FIRST_PASSED)) as server:
        server.set_app(application)
        while not server.idle:
            server.handle_request()
