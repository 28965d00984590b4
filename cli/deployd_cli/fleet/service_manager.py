"""What the agent says to the service manager: that it is ready, its status line, and its log on standard error."""

from __future__ import annotations

import os
import socket
import sys


class ServiceManager:
    """Without $NOTIFY_SOCKET only the log has an effect (sd_notify(3))."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")

    def log(self, text: str) -> None:
        """Write a line; standard error of a service is the journal."""
        print(text.replace("\n", " "), file=sys.stderr, flush=True)

    def ready(self, status: str) -> None:
        """Notify that the service has started, and what it does now."""
        if not self._address:
            return
        # An address that begins with @ is in the abstract namespace (unix(7)).
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        line = status.replace("\n", " ")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            notify.sendto(f"READY=1\nSTATUS={line}".encode(), address)
