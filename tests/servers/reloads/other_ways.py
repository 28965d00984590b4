"""Puma and pm2."""

from __future__ import annotations

from tests.host.stage import PORT
from tests.servers import node_servers, ruby_servers
from tests.servers.reloads.way import CURRENT, NPM, TOOLS, WORKERS, Way

PUMA = Way(
    "puma-phased",
    "puma phased-restart",
    ruby_servers.PUMA,
    f"""\
Type=notify
WatchdogSec=10
Restart=always
RuntimeDirectory=web
ExecStart=/usr/bin/puma -C {TOOLS}/puma.rb
""",
    "the unit of its manual, and pumactl phased-restart; cluster mode without preload_app, directory is the moved"
    " symlink, worker_shutdown_timeout 30 s",
    command=("/usr/bin/pumactl", "--pidfile", "/run/web/puma.pid", "phased-restart"),
    tools={
        "puma.rb": f"""\
pidfile "/run/web/puma.pid"
directory "{CURRENT}"
bind "tcp://127.0.0.1:{PORT}"
workers {WORKERS}
threads 4, 4
worker_shutdown_timeout 30
"""
    },
)
PM2 = Way(
    "pm2-reload",
    "pm2 7.0.4 reload, node",
    node_servers.NODE,
    f"""\
Type=forking
Environment=PM2_HOME={TOOLS}/pm2
PIDFile={TOOLS}/pm2/pm2.pid
Restart=on-failure
ExecStart=/usr/bin/node {NPM}/pm2/bin/pm2 start {TOOLS}/ecosystem.config.js
ExecReload=/usr/bin/node {NPM}/pm2/bin/pm2 reload {TOOLS}/ecosystem.config.js
ExecStop=/usr/bin/node {NPM}/pm2/bin/pm2 kill
""",
    "cluster mode, wait_ready, listen_timeout 10 s, kill_timeout 30 s, and an app that closes its server on SIGINT."
    " server.close() of node 20 takes a response that has ended, but is still being sent, for idle, and cuts it off",
    tools={
        "ecosystem.config.js": f"""\
module.exports = {{
  apps: [{{
    name: "web",
    cwd: "{CURRENT}",
    script: "./server.js",
    exec_mode: "cluster",
    instances: {WORKERS},
    wait_ready: true,
    listen_timeout: 10000,
    kill_timeout: 30000,
    env: {{ PORT: {PORT} }},
  }}],
}};
"""
    },
    npm=True,
)
WAYS = (PUMA, PM2)
