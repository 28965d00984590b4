"""The app of Tornado. The file `behaviour` of its release says what is wrong with it (tests/servers/server.py).

It takes the sockets of systemd. On SIGTERM it accepts nothing more, has the clients leave, and waits for its requests.
"""

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

behaviour = Path("behaviour").read_text().strip()
if behaviour == "crash":
    raise RuntimeError("this release crashes")
if behaviour == "late":
    time.sleep(1)
    import no_such_module  # noqa: F401
if behaviour == "hang":
    time.sleep(3600)

from tornado import httpserver, web, websocket  # noqa: E402

FIRST = 3
PATIENCE = 25.0
"""Seconds for requests after SIGTERM."""
LINGER = 2.0
"""Seconds that an idle connection is kept after SIGTERM: a request may be on its way."""
generation = int(os.environ["DEPLOYD_GENERATION"])
instance = int(os.environ["DEPLOYD_INSTANCE"])
stopping = asyncio.Event()
pending: set[object] = set()
sockets: set["Events"] = set()


class Application(web.Application):
    def find_handler(self, request, **kwargs):
        if "Upgrade" not in request.headers:
            pending.add(request)  # its body may still be arriving
        return super().find_handler(request, **kwargs)


class Handler(web.RequestHandler):
    def prepare(self):
        if behaviour == "errors":
            raise web.HTTPError(500)

    def set_default_headers(self):
        if stopping.is_set():
            self.set_header("Connection", "close")

    def on_finish(self):
        pending.discard(self.request)

    on_connection_close = on_finish

    def identity(self):
        self.set_default_headers()
        self.write({"generation": generation, "instance": instance, "pid": os.getpid()})


class Identity(Handler):
    def get(self):
        self.identity()


class Slow(Handler):
    async def get(self):
        await asyncio.sleep(float(self.get_argument("seconds")))
        self.identity()


class Upload(Handler):
    def post(self):
        self.write({"received": len(self.request.body)})


class Download(Handler):
    def get(self):
        self.write(b"x" * 4_000_000)


class Events(websocket.WebSocketHandler):
    def open(self):
        sockets.add(self)

    def on_message(self, message):
        self.write_message(message)
        if stopping.is_set():  # after an answer, so that no message crosses the close frame
            self.close(1012)

    def on_close(self):
        sockets.discard(self)


async def main() -> None:
    paths = [("/", Identity), ("/_status", Identity), ("/slow", Slow), ("/upload", Upload)]
    server = httpserver.HTTPServer(Application([*paths, ("/download", Download), ("/events", Events)]))
    server.add_sockets([socket.socket(fileno=FIRST + number) for number in range(int(os.environ["LISTEN_FDS"]))])
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()
    server.stop()
    await asyncio.sleep(LINGER / 2)
    for each in list(sockets):
        each.close(1012)
    await asyncio.sleep(LINGER / 2)
    end = time.monotonic() + PATIENCE
    while pending and time.monotonic() < end:
        await asyncio.sleep(0.05)
    await server.close_all_connections()


asyncio.run(main())
