"""All rows of the table, by name."""

from __future__ import annotations

from tests.servers import compiled_servers, node_servers, python_servers, ruby_servers, web_servers
from tests.servers.server import Server

GROUPS = (python_servers, node_servers, ruby_servers, compiled_servers, web_servers)
SERVERS: dict[str, Server] = {server.name: server for group in GROUPS for server in group.SERVERS}
