"""All rows of the table, by name."""

from __future__ import annotations

from tests.servers import other_servers, python_servers
from tests.servers.server import Server

SERVERS: dict[str, Server] = {server.name: server for server in (*python_servers.SERVERS, *other_servers.SERVERS)}
