"""A minimal notify service for benches of cost: sends READY=1 at once, then idles; SIGTERM ends it at once."""

import os
import signal
import socket


def main() -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"READY=1", "\0" + address[1:] if address.startswith("@") else address)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
