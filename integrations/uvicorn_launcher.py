"""Uvicorn under deployd: takes the sockets that it was passed, says READY=1 when it serves, and stops without loss.

    exec = ["venv/bin/python", "/usr/share/deployd/integrations/uvicorn_launcher.py", "app:app", "--proxy-headers"]

It takes the arguments of uvicorn, except for those that say where to listen, and runs one process: instances take the
place of --workers. Uvicorn itself takes one descriptor (--fd 3) and never says that it is ready.
"""

import socket
import sys

import uvicorn
import uvicorn_server
from deployd_passed import inherited, notify

uvicorn_main = sys.modules["uvicorn.main"]  # the package has a function of this name, too

PATIENCE = 20
"""Seconds for requests in flight; with the moment for clients to leave less than the 30 s of [stop] timeout."""


class Server(uvicorn_server.Server):
    """A server that announces itself."""

    def __init__(self, config: uvicorn.Config) -> None:
        if config.timeout_graceful_shutdown is None:
            config.timeout_graceful_shutdown = PATIENCE
        if config.should_reload or config.workers > 1:
            sys.exit("uvicorn_launcher.py: --reload and --workers do not fit: deployd runs several instances instead")
        super().__init__(config)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        super().run(sockets or inherited())

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            notify("READY=1")


if __name__ == "__main__":
    sys.path[0] = ""  # the release, as uvicorn itself has it, not the directory of this file
    uvicorn_main.Server = Server
    uvicorn.main(prog_name="uvicorn_launcher.py")
