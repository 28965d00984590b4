"""Waitress under deployd: takes the sockets that it was passed, says READY=1 when it serves, and stops without loss.

    exec = ["venv/bin/python", "/usr/share/deployd/integrations/waitress_launcher.py", "--threads", "8", "app:app"]

It takes the arguments of waitress-serve, except for those that say where to listen. Waitress itself takes no sockets
from its command line, never says that it is ready, and at SIGTERM cuts off whatever is under way.
"""

import signal
import socket
import sys
import time

from deployd_passed import inherited, notify
from waitress import runner, wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server
from waitress.task import WSGITask

LINGER = 2.0
"""Seconds that an idle connection is kept after the stop signal."""
PATIENCE = 20.0
"""Seconds after that for requests in flight; both together are less than the 30 s of [stop] timeout."""
ELSEWHERE = ("host", "port", "listen", "unix_socket")


class Task(WSGITask):
    """A request whose response says Connection: close when the server is stopping."""

    def build_response_header(self):
        if stop.requested:
            self.request.headers["CONNECTION"] = "close"  # as if the client had asked for it
        return super().build_response_header()


class Stop:
    """SIGTERM, which wakes the loop of the servers."""

    requested = False
    servers = ()

    def request(self, *_):
        self.requested = True
        for server in self.servers:
            server.pull_trigger()


stop = Stop()


def serve(application, **options):
    """Serve until SIGTERM, and then until the last request has its response."""
    if given := [name for name in ELSEWHERE if name in options]:
        sys.exit(f"waitress_launcher.py: --{given[0].replace('_', '-')} does not fit: deployd passes the sockets")
    options.setdefault("backlog", socket.SOMAXCONN)  # it sets that of the socket, and systemd has set it to no less
    HTTPChannel.task_class = Task
    everything, server = {}, None
    for group in alike(inherited()):
        threads = server and server.task_dispatcher
        server = create_server(application, map=everything, sockets=group, _dispatcher=threads, **options)
    stop.servers = [item for item in everything.values() if isinstance(item, BaseWSGIServer)]
    signal.signal(signal.SIGTERM, stop.request)
    notify("READY=1")

    def once(timeout):
        wasyncore.loop(timeout, server.adj.asyncore_use_poll, everything, count=1)

    while not stop.requested:
        once(server.adj.asyncore_loop_timeout)
    for listener in stop.servers:
        listener.accepting = False
    idle = time.monotonic() + LINGER
    end = idle + PATIENCE
    while (open_ := channels(everything)) and (now := time.monotonic()) < end:
        for channel in open_ if now >= idle else ():
            if not (channel.requests or channel.request or channel.total_outbufs_len):
                channel.will_close = True
        once(0.1)
    server.task_dispatcher.shutdown(timeout=0)


def channels(everything):
    """Return the connections of clients."""
    return [item for item in everything.values() if isinstance(item, HTTPChannel)]


def alike(sockets):
    """Return sockets of the Internet and UNIX sockets apart, such as that of a probe: Waitress refuses a mixture."""
    groups = {}
    for passed in sockets:
        groups.setdefault(passed.family == socket.AF_UNIX, []).append(passed)
    return groups.values()


if __name__ == "__main__":
    sys.path[0] = ""  # the release, not the directory of this file
    sys.exit(runner.run(sys.argv, serve))
