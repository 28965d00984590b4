"""nginx and HAProxy: a release is a configuration."""

from __future__ import annotations

from dataclasses import replace

from tests.host.stage import PORT
from tests.servers.proof import merged
from tests.servers.reloads.way import CURRENT, WORKERS, Way
from tests.servers.server import Behaviour
from tests.servers.web_servers import HAPROXY as HAPROXY_SERVER
from tests.servers.web_servers import HAPROXY_CONFIG, NGINX_APP, NGINX_CONFIG
from tests.servers.web_servers import NGINX as NGINX_SERVER

IDENTITY = """'{"version": "@VERSION@"}'"""
NGINX_FRAME = NGINX_CONFIG.replace("worker_processes 2;", f"worker_processes {WORKERS};") % NGINX_APP
NGINX_COMMAND = f"/usr/sbin/nginx -p {CURRENT} -c nginx.conf -g 'daemon on; master_process on;'"
NGINX = Way(
    "nginx-reload",
    "nginx reload",
    replace(
        NGINX_SERVER,
        files={
            **NGINX_SERVER.files,
            "nginx.conf": NGINX_FRAME % f"default_type application/json; return 200 {IDENTITY};",
        },
        overrides={**NGINX_SERVER.overrides, Behaviour.ERRORS: {"nginx.conf": NGINX_FRAME % "return 500;"}},
    ),
    f"""\
Type=forking
PIDFile=/run/nginx.pid
ExecStartPre={NGINX_COMMAND} -t -q
ExecStart={NGINX_COMMAND}
ExecReload={NGINX_COMMAND} -s reload
KillMode=mixed
TimeoutStopSec=5
""",
    "the unit of Debian, 4 workers, worker_shutdown_timeout 25 s",
    workers=False,
)
# BIND: systemd's socket under deployd. Without the option, a reload closes idle connections at once, with requests on
# their way: 2 of 4,541 failed.
HAPROXY_FRAME = HAPROXY_CONFIG.replace("bind fd@3", 'bind "${BIND}"').replace(
    "    mode http\n", "    mode http\n    option idle-close-on-response\n"
)
HAPROXY_IDENTITY = f"""\
monitor-uri /_status
    http-request return content-type application/json string {IDENTITY} if {{ path / }}"""
HAPROXY = Way(
    "haproxy-reload",
    "HAProxy reload",
    replace(
        HAPROXY_SERVER,
        settings=merged(HAPROXY_SERVER.settings, {"environment": {"BIND": "fd@3"}}),
        files={"haproxy.cfg": HAPROXY_FRAME % HAPROXY_IDENTITY},
        overrides={
            **HAPROXY_SERVER.overrides,
            Behaviour.ERRORS: {"haproxy.cfg": HAPROXY_FRAME % "http-request return status 500"},
        },
    ),
    f"""\
Type=notify
Environment=BIND=127.0.0.1:{PORT} CONFIG={CURRENT}/haproxy.cfg PIDFILE=/run/haproxy.pid
Environment="EXTRAOPTS=-S /run/haproxy-master.sock"
ExecStart=/usr/sbin/haproxy -Ws -f $CONFIG -p $PIDFILE $EXTRAOPTS
ExecReload=/usr/sbin/haproxy -Ws -f $CONFIG -c -q $EXTRAOPTS
ExecReload=/bin/kill -USR2 $MAINPID
KillMode=mixed
Restart=always
SuccessExitStatus=143
""",
    "the unit of Debian, hard-stop-after 25 s, idle-close-on-response; one process serves with all processors",
    workers=False,
)
WAYS = (NGINX, HAPROXY)
