"""What systemd passes to a launcher: listening sockets, and where to say READY=1.

uvicorn_launcher.py and waitress_launcher.py use /usr/share/deployd/integrations/deployd_passed.py; no app file does.
"""

import os
import socket
import sys
from pathlib import Path

FIRST = 3
"""The first inherited descriptor, sd_listen_fds(3)."""


def inherited() -> list[socket.socket]:
    """Return the listening sockets that systemd has passed to this process."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        sys.exit(f"{Path(sys.argv[0]).name}: no socket was passed (LISTEN_FDS); deployd and systemd do")
    return [socket.socket(fileno=FIRST + number) for number in range(int(os.environ["LISTEN_FDS"]))]


def notify(state: str) -> None:
    """Send a message to systemd, sd_notify(3)."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as message:
            message.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
