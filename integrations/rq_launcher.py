"""An rq worker under deployd: says READY=1 when it has reached Redis. It takes the arguments of rq.

    exec = ["venv/bin/python", "/usr/share/deployd/integrations/rq_launcher.py", "worker", "default"]

On SIGTERM rq finishes its job (a warm shutdown); the launcher adds nothing to that.
"""

import os
import socket
import sys

from rq.cli import main
from rq.worker import Worker

bootstrap = Worker.bootstrap


def announced(worker, *args, **options):
    """Register the worker in Redis, then say READY=1, sd_notify(3)."""
    bootstrap(worker, *args, **options)
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as message:
            message.sendto(b"READY=1", "\0" + address[1:] if address[0] == "@" else address)


if __name__ == "__main__":
    sys.path[0] = ""  # the release, not the directory of this file
    Worker.bootstrap = announced
    main()
