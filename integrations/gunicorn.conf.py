"""Gunicorn under deployd: READY=1 only when every worker serves, not when the arbiter is up.

    exec = ["venv/bin/gunicorn", "--config", "/usr/share/deployd/integrations/gunicorn.conf.py", "app:app"]

Gunicorn itself says READY=1 before its workers import the application, so a release that cannot be imported would go
live. With this file the arbiter waits until each worker has loaded the application and runs its loop. A worker that
ends before that fails the start at once. Any worker class will do, and options of the command line win as usual.

Workers of uvicorn ask their clients to leave before they stop (uvicorn_server.py), and need nothing for it.

A gunicorn.conf.py of the release is read as well, and its settings and hooks remain in force.

DEPLOYD_CHECK=/_status in the environment of the app makes each worker answer GET /_status in its own process first
(WSGI only); anything but 2xx and 3xx fails the start. A URL also sets the Host: http://www.example.com/_status.
Do not check too much: a check that needs the database, or a service of others, makes an app unstartable exactly when
that is down, and a rollback with it. It should prove that this process has loaded, and no more.
"""

import fcntl
import importlib
import io
import os
import runpy
import signal
import socket
import sys
import threading
import types
import wsgiref.util
from pathlib import Path
from urllib.parse import urlsplit

from gunicorn.config import KNOWN_SETTINGS
from gunicorn.errors import HaltServer

OWN = Path("gunicorn.conf.py")
"""The release's own settings; gunicorn starts in the release."""
HERE = str(Path(__file__).parent)
"""The directory of these integrations."""
BOOT_ERROR = 3
"""Gunicorn's exit status for "Worker failed to boot."."""

own = runpy.run_path(str(OWN)) if OWN.is_file() and not OWN.samefile(__file__) else {}
globals().update({setting.name: own[setting.name] for setting in KNOWN_SETTINGS if setting.name in own})

if "graceful_timeout" not in own:
    graceful_timeout = 25  # below the 30 s of [stop] timeout, so that gunicorn ends its workers itself
if "control_socket" not in own:
    control_socket_disable = True  # gunicorn 25 and later: one path in the user's home for all instances

# Without NOTIFY_SOCKET gunicorn itself says nothing. `address` is None when READY=1 has been said, and when SIGHUP has
# this file read again.
start = types.SimpleNamespace(address=os.environ.pop("NOTIFY_SOCKET", None), loaded=set())

# Workers write their PIDs into a pipe, and its SIGIO wakes the arbiter, because systemd listens to the main process of
# a unit alone. A thread in the arbiter would be there at each fork.
reader, writer = os.pipe()


def on_starting(server):
    # Before 27.0.1, a thread worker that stops leaves kept connections unread and resets them, with what was sent.
    worker = server.cfg.worker_class
    resets = worker.__name__ == "ThreadWorker" and not hasattr(sys.modules[worker.__module__], "STOP_KEEPALIVE_LINGER")
    if resets and "keepalive" not in own and server.cfg.keepalive == 2:
        server.cfg.set("keepalive", 0)
    if not resets and worker.__name__ == "ThreadWorker":
        _close_aside(sys.modules[worker.__module__].TConn)
    if start.address:  # a worker that hangs while it loads has no request to finish
        start.graceful_timeout = server.cfg.graceful_timeout
        server.cfg.set("graceful_timeout", 1)
    _call_own("on_starting", server)


def when_ready(server):
    if start.address:
        os.set_blocking(reader, False)
        signal.signal(signal.SIGIO, lambda *_: _count(server))
        fcntl.fcntl(reader, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(reader, fcntl.F_SETFL, fcntl.fcntl(reader, fcntl.F_GETFL) | os.O_ASYNC)
    _call_own("when_ready", server)


def post_fork(server, worker):
    if start.address:
        worker.cfg.set("graceful_timeout", start.graceful_timeout)
    _call_own("post_fork", server, worker)


def post_worker_init(worker):
    _call_own("post_worker_init", worker)
    _ask_to_leave(worker)
    if url := os.environ.get("DEPLOYD_CHECK"):
        _check(worker.wsgi, url)
    beat = worker.notify

    def first_beat():
        """The worker's loop runs; in a worker for ASGI that is after the application's own startup."""
        worker.notify = beat
        os.write(writer, b"%d\n" % os.getpid())
        beat()

    if start.address:
        worker.notify = first_beat


def child_exit(server, worker):
    if start.address:
        _count(server)
        start.loaded.discard(worker.pid)
        if start.address and server.LISTENERS:  # neither ready nor stopping
            start.address = None
            raise HaltServer("A worker ended before all had loaded the application.", BOOT_ERROR)
    _call_own("child_exit", server, worker)


def _count(server):
    """Read which workers have loaded, and say READY=1 once when all have."""
    try:
        while text := os.read(reader, 4096):
            start.loaded.update(map(int, text.split()))
    except BlockingIOError:
        pass
    if start.address and len(start.loaded) >= server.num_workers:
        address = "\0" + start.address[1:] if start.address[0] == "@" else start.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1\nSTATUS=%d workers serve" % len(start.loaded), address)
        start.address = None
        server.cfg.set("graceful_timeout", start.graceful_timeout)


def _check(application, url):
    """Have the application answer one request in this process; raise RuntimeError unless it succeeds."""
    parts = urlsplit(url)
    environ = {"PATH_INFO": parts.path or "/", "QUERY_STRING": parts.query}
    environ |= {"wsgi.errors": sys.stderr, "wsgi.input": io.BytesIO()}
    if parts.netloc:
        environ |= {"HTTP_HOST": parts.netloc, "wsgi.url_scheme": parts.scheme}
    wsgiref.util.setup_testing_defaults(environ)
    answers = []

    def start_response(status, _headers, _error=None):
        answers.append(status)
        return lambda _data: None

    body = application(environ, start_response)
    try:
        for _ in body:  # an application may answer late, while its body is read
            pass
    finally:
        getattr(body, "close", lambda: None)()
    if not answers or answers[-1][0] not in "23":
        raise RuntimeError(f"DEPLOYD_CHECK: GET {url} was answered with {answers[-1] if answers else 'nothing'}")


def _ask_to_leave(worker):
    """Have a worker of uvicorn run the server of uvicorn_server.py; any other worker is left alone."""
    uvicorn = sys.modules.get("uvicorn")
    for module in (sys.modules[kind.__module__] for kind in type(worker).__mro__):
        if uvicorn and getattr(module, "Server", None) is uvicorn.Server:
            sys.path.insert(0, HERE)  # not for longer: the names of these files may be those of the release, too
            try:
                module.Server = importlib.import_module("uvicorn_server").Server
            finally:
                sys.path.remove(HERE)


def _close_aside(connection):
    """Have threads wait until clients have read their responses.

    The worker's own loop waits up to two seconds for a slow reader, and then closes kept connections that have timed
    out meanwhile, with requests that nothing has read.
    """
    close = connection.close

    def aside(self, graceful=False):
        if graceful:
            threading.Thread(target=close, args=(self, True)).start()  # the process ends after it
        else:
            close(self)

    connection.close = aside


def _call_own(hook, *arguments):
    """Call the hook of the release's own file, if it has one."""
    if hook in own:
        own[hook](*arguments)
