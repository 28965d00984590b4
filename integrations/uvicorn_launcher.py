"""Uvicorn under deployd: takes the sockets that it was passed, says READY=1 when it serves, and stops without loss.

    exec = ["venv/bin/python", "/usr/share/deployd/integrations/uvicorn_launcher.py", "app:app", "--proxy-headers"]

It takes the arguments of uvicorn, except for those that say where to listen, and runs one process: instances take the
place of --workers. Uvicorn itself takes one descriptor (--fd 3) and never says that it is ready.
"""

import asyncio
import os
import socket
import sys

import uvicorn
from asgi_launcher import LINGER, Leaving

uvicorn_main = sys.modules["uvicorn.main"]  # the package has a function of this name, too

FIRST = 3
"""The first inherited descriptor, sd_listen_fds(3)."""
ACCEPTED = 0.05
"""Seconds until a connection that the event loop has accepted is known to uvicorn."""
PATIENCE = 20
"""Seconds for requests in flight; with LINGER less than the 30 s of [stop] timeout."""


class Server(uvicorn.Server):
    """A server that announces itself, and asks clients to leave before it closes their connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        if config.timeout_graceful_shutdown is None:
            config.timeout_graceful_shutdown = PATIENCE
        if config.should_reload or config.workers > 1:
            sys.exit("uvicorn_launcher.py: --reload and --workers do not fit: deployd runs several instances instead")
        super().__init__(config)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        super().run(sockets or inherited())

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.leaving = self.config.loaded_app = Leaving(self.config.loaded_app)
        await super().startup(sockets)
        if self.started:
            notify("READY=1")

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


def notify(state: str) -> None:
    """Send a message to systemd, sd_notify(3)."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as message:
            message.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)


def inherited() -> list[socket.socket]:
    """Return the listening sockets that systemd has passed to this process."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        sys.exit("uvicorn_launcher.py: no socket was passed (LISTEN_FDS); deployd and systemd do")
    return [socket.socket(fileno=FIRST + number) for number in range(int(os.environ["LISTEN_FDS"]))]


if __name__ == "__main__":
    sys.path[0] = ""  # the release, as uvicorn itself has it, not the directory of this file
    uvicorn_main.Server = Server
    uvicorn.main(prog_name="uvicorn_launcher.py")
