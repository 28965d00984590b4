"""Servers of other languages: node, puma, nginx."""

from __future__ import annotations

from typing import Any

from tests.servers.server import APPS, Behaviour, Server

PROBE: dict[str, Any] = {"gate": {"probe": {"http": "/_status"}}}
NODE_FILES = {"server.js": APPS / "node_app.js"}
NODE_VERSION = "/usr/bin/node --version"

NODE = Server("node", "node http", "node", PROBE, NODE_FILES, NODE_VERSION)
PORT = Server(
    "port",
    "node http at $PORT",
    "generic-port",
    {"exec": ["/usr/bin/node", "server.js"], "drain": {"close_after": "0s"}, **PROBE},
    NODE_FILES,
    NODE_VERSION,
    modes=("steered",),
)
PUMA = Server(
    "puma",
    "puma, rack",
    "puma",
    {"gate": {"type": "notify", "probe": {"http": "/_status"}}},
    {"config.ru": APPS / "config.ru"},
    "/usr/bin/puma --version",
    debian=("puma", "ruby-sd-notify"),
)

UNICORN = Server(
    "unicorn",
    "unicorn, rack",
    "unicorn",
    PROBE,
    {"config.ru": APPS / "config.ru"},
    "/usr/bin/unicorn --version",
    debian=("unicorn",),
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
NGINX_CONFIG = """\
error_log stderr;
worker_processes 2;
worker_shutdown_timeout 25s;
events { worker_connections 512; }
http {
    client_body_temp_path /tmp/nginx;
    proxy_temp_path /tmp/nginx-proxy;
    fastcgi_temp_path /tmp/nginx-fastcgi;
    uwsgi_temp_path /tmp/nginx-uwsgi;
    scgi_temp_path /tmp/nginx-scgi;
    access_log off;
    server {
        listen 127.0.0.1:8080;
        location / { %s }
        location /slow { alias slow; limit_rate 1k; }
        location /upload { proxy_pass http://127.0.0.1:8080/; }
        location /download { alias download; }
    }
}
"""
NGINX = Server(
    "nginx",
    "nginx itself",
    "nginx",
    PROBE,
    {"nginx.conf": NGINX_CONFIG % "return 200 ok;", "slow": "x" * 2048, "download": "x" * 4_000_000},
    "/usr/sbin/nginx -v 2>&1",
    debian=("nginx",),
    bad=(Behaviour.CRASH, Behaviour.ERRORS),
    overrides={
        Behaviour.CRASH: {"nginx.conf": "no such directive;\n"},
        Behaviour.ERRORS: {"nginx.conf": NGINX_CONFIG % "return 500;"},
    },
    note="a release is its configuration: no worker can fail late, and nothing can hang",
)
SERVERS = (NODE, EXPRESS, PORT, PUMA, UNICORN, NGINX)
