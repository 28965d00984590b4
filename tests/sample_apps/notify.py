"""The least notify service there is: READY=1 at once, then nothing; SIGTERM ends it at once. For cost benches."""

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
