"""A Celery worker under deployd: says READY=1 when it takes tasks. It takes the arguments of celery.

    exec = ["venv/bin/python", "/usr/share/deployd/integrations/celery_launcher.py", "-A", "app", "worker"]

On SIGTERM Celery finishes its tasks (a warm shutdown); the launcher adds nothing to that.
"""

import os
import socket
import sys

from celery.__main__ import main
from celery.signals import worker_ready


@worker_ready.connect
def ready(**_):
    """Say READY=1, sd_notify(3): the worker has reached its broker and takes tasks."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as message:
            message.sendto(b"READY=1", "\0" + address[1:] if address[0] == "@" else address)


if __name__ == "__main__":
    sys.path[0] = ""  # the release, as celery itself has it, not the directory of this file
    main()
