"""An ASGI server under deployd whose clients are asked to leave before it stops: Hypercorn, Granian and others.

    exec = ["venv/bin/python", "/usr/share/deployd/integrations/asgi_launcher.py", "hypercorn", "--workers", "0",
            "--bind", "fd://3", "app:app"]

It runs the server, a Python module, with its arguments, the last of which is the application. At SIGTERM the
application answers with Connection: close and closes WebSockets with 1012; after LINGER the server gets SIGINT, and
finishes its requests. The servers themselves close idle connections at once, while requests may be on their way, and
WebSockets without a close frame, or late.
"""

import asyncio
import importlib
import os
import runpy
import signal
import sys
from pathlib import Path

LINGER = 2.0
"""Seconds that an idle connection is kept after the stop signal."""
RESTART = 1012
"""The close code that has a client connect again."""
VARIABLE = "DEPLOYD_ASGI"


class Leaving:
    """An application that asks its clients to leave when `stopping` is set."""

    def __init__(self, app):
        self.app = app
        self.stopping = asyncio.Event()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "websocket":
            await self.websocket(scope, receive, send)
        elif scope["type"] == "http" and scope["http_version"].startswith("1"):
            await self.app(scope, receive, self.last(send))
        else:
            await self.app(scope, receive, send)

    def last(self, send):
        """Return a `send` that says Connection: close when the server is stopping."""

        async def sent(message):
            if message["type"] == "http.response.start" and self.stopping.is_set():
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        return sent

    async def websocket(self, scope, receive, send):
        """Close after the next message of the application, so that the client has its answer, or when none comes."""
        accepted, closed = asyncio.Event(), False

        async def close():
            nonlocal closed
            if not closed:
                closed = True
                await send({"type": "websocket.close", "code": RESTART})

        async def idle():
            await accepted.wait()
            await self.stopping.wait()
            await asyncio.sleep(LINGER / 2)
            await close()

        async def sent(message):
            if closed:  # the client reads nothing after the close frame
                return
            await send(message)
            if message["type"] == "websocket.accept":
                accepted.set()
            elif message["type"] == "websocket.send" and self.stopping.is_set():
                await close()

        closing = asyncio.create_task(idle())
        try:
            await self.app(scope, receive, sent)
        finally:
            closing.cancel()


class Terminable(Leaving):
    """An application that does so from SIGTERM on, and has the server stop LINGER later."""

    handled = False

    async def __call__(self, scope, receive, send):
        if scope["type"] != "lifespan" and not self.handled:  # the server has set its own handlers by now
            self.handled = True
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stop)
        await super().__call__(scope, receive, send)

    def stop(self):
        self.stopping.set()
        asyncio.get_running_loop().call_later(LINGER, signal.raise_signal, signal.SIGINT)


def load(target):
    """Return the application that MODULE:NAME names; NAME may have dots, or be a call without arguments."""
    module, _, name = target.partition(":")
    found = importlib.import_module(module)
    for part in (name or "app").removesuffix("()").split("."):
        found = getattr(found, part)
    return found() if name.endswith("()") else found


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("asgi_launcher.py: name a server and an application, such as: hypercorn --bind fd://3 app:app")
    server, *arguments, os.environ[VARIABLE] = sys.argv[1:]
    sys.path[:1] = ["", str(Path(__file__).parent)]  # the release, as the server itself has it, then this directory
    sys.argv = [server, *arguments, "asgi_launcher:app"]
    runpy.run_module(server, run_name="__main__", alter_sys=True)
elif VARIABLE in os.environ:
    app = Terminable(load(os.environ[VARIABLE]))
