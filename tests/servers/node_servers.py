"""Servers of Node.js, and a program that knows only a port."""

from __future__ import annotations

from typing import Any

from tests.servers.server import APPS, Server

PROBE: dict[str, Any] = {"gate": {"probe": {"http": "/_status"}}}
FILES = {"server.js": APPS / "node_app.js"}
VERSION = "/usr/bin/node --version"

NODE = Server("node", "node http", "node", PROBE, FILES, VERSION)
PORT = Server(
    "port",
    "node http at $PORT",
    "generic-port",
    {"exec": ["/usr/bin/node", "server.js"], **PROBE},
    FILES,
    VERSION,
    modes=("steered",),
)
EXPRESS = Server(
    "express",
    "Express, node",
    "express",
    {"environment": {"NODE_PATH": "/usr/share/nodejs"}, **PROBE},
    {"server.js": APPS / "express_app.js"},
    "node -p \"require('/usr/share/nodejs/express/package.json').version\"",
    debian=("node-express",),
)
SERVERS = (NODE, EXPRESS, PORT)
