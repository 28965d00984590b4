"""A server of uvicorn that asks its clients to leave before it closes their connections.

No app file names /usr/share/deployd/integrations/uvicorn_server.py: uvicorn_launcher.py runs it, and gunicorn.conf.py
has workers of uvicorn run it. Uvicorn itself closes idle connections at once, while requests may be on their way, and
forgets what the event loop has just accepted.
"""

import asyncio
import socket

import uvicorn
from asgi_launcher import LINGER, Leaving

ACCEPTED = 0.05
"""Seconds until a connection that the event loop has accepted is known to uvicorn."""


class Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.leaving = self.config.loaded_app = Leaving(self.config.loaded_app)
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, have clients leave for a moment, and then close what is left."""
        loop = asyncio.get_running_loop()
        if isinstance(loop, asyncio.SelectorEventLoop):  # it forgets what it has just accepted when a server is closed
            for server in self.servers:
                for listener in server.sockets:
                    loop.remove_reader(listener.fileno())
            await asyncio.sleep(ACCEPTED)
        for server in self.servers:
            server.close()
        self.leaving.stopping.set()
        end = loop.time() + LINGER
        while self.server_state.connections and not self.force_exit and loop.time() < end:  # noqa: ASYNC110
            await asyncio.sleep(ACCEPTED)
        await super().shutdown(sockets)
