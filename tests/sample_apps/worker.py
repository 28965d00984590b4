"""A worker that serves no clients: it does one job after another, and finishes the present one after SIGTERM.

Each job appends a line when it begins and one when it ends to LOG, with the instance, the generation and the job. A job
takes as long as the file `job` of the release says: a number of seconds, or until something is written to the FIFO
whose path it has. `mode` of the release: good, crash (at once), or dies (after it was ready). If two of them run at a
time, the second appends "two" to LOG. At SIGTSTP it appends "quiet" and continues.
"""

import fcntl
import os
import signal
import socket
import threading
from pathlib import Path

LOG = "/srv/jobs.log"
LOCK = "/srv/jobs.lock"


def main() -> None:
    log = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    lock = os.open(LOCK, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.write(log, b"two\n")
    mode, job = Path("mode").read_text().strip(), Path("job").read_text().strip()
    if mode == "crash":
        raise SystemExit(3)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGTSTP, lambda *_: os.write(log, b"quiet\n"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        if address := os.environ.get("NOTIFY_SOCKET"):
            notify.sendto(b"READY=1", address)
    if mode == "dies":
        stopping.wait(0.2)
        raise SystemExit(5)
    who = f"{os.environ['DEPLOYD_INSTANCE']} {os.environ['DEPLOYD_GENERATION']}"
    count = 0
    while not stopping.is_set():
        count += 1
        os.write(log, f"begin {who} {count}\n".encode())
        if job.startswith("/"):
            Path(job).read_bytes()
        else:
            threading.Event().wait(float(job))
        os.write(log, f"end {who} {count}\n".encode())


if __name__ == "__main__":
    main()
