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
EXPRESS_FILES = {"server.js": APPS / "express_app.js"}
EXPRESS_VERSION = "node -p \"require('express/package.json').version + '/' + process.version\""
EXPRESS4 = Server(
    "express4",
    "Express and ws of Debian 12",
    "express",
    {"environment": {"NODE_PATH": "/usr/share/nodejs"}, **PROBE},
    EXPRESS_FILES,
    EXPRESS_VERSION,
    debian=("node-express", "node-ws"),
    websockets=True,
)
EXPRESS = Server(
    "express",
    "Express and ws of npm",
    "express",
    PROBE,
    EXPRESS_FILES,
    EXPRESS_VERSION,
    npm=True,
    large=True,
    websockets=True,
)
SERVERS = (NODE, EXPRESS, EXPRESS4, PORT)
