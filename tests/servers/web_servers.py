"""Web servers that are rolled out themselves, a release being their configuration, and php-fpm behind one of them."""

from __future__ import annotations

from typing import Any

from tests.host.stage import PORT
from tests.servers.server import APPS, Behaviour, Companion, Server

PROBE: dict[str, Any] = {"gate": {"probe": {"http": "/_status"}}}
BAD = (Behaviour.CRASH, Behaviour.ERRORS)
NOTE = "a release is its configuration: no worker can fail late, and nothing can hang"
BACKEND = Companion(
    "backend", ("/usr/bin/node", "server.js"), {"server.js": APPS / "node_app.js", "behaviour": "good"}, 9000
)
"""To which HAProxy and Caddy pass requests on."""

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
%s
    }
}
"""
NGINX_APP = """\
        location / { %s }
        location /slow { alias slow; limit_rate 1k; }
        location /upload { proxy_pass http://127.0.0.1:8080/; }
        location /download { alias download; }
"""
NGINX = Server(
    "nginx",
    "nginx itself",
    "nginx",
    PROBE,
    {"nginx.conf": NGINX_CONFIG % NGINX_APP % "return 200 ok;", "slow": "x" * 2048, "download": "x" * 4_000_000},
    "/usr/sbin/nginx -v 2>&1",
    debian=("nginx",),
    modes=("steered",),
    bad=BAD,
    overrides={
        Behaviour.CRASH: {"nginx.conf": "no such directive;\n"},
        Behaviour.ERRORS: {"nginx.conf": NGINX_CONFIG % NGINX_APP % "return 500;"},
    },
    note=NOTE,
)

HAPROXY_CONFIG = """\
global
    hard-stop-after 25s
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
frontend app
    bind fd@3
    %s
    default_backend servers
backend servers
    server one 127.0.0.1:9000
"""
HAPROXY = Server(
    "haproxy",
    "HAProxy itself",
    "haproxy",
    PROBE,
    {"haproxy.cfg": HAPROXY_CONFIG % "monitor-uri /_status"},
    "/usr/sbin/haproxy -v | head -n 1 | cut -d ' ' -f 3",
    debian=("haproxy",),
    companions=(BACKEND,),
    modes=("steered",),
    bad=BAD,
    overrides={
        Behaviour.CRASH: {"haproxy.cfg": "no such section\n"},
        Behaviour.ERRORS: {"haproxy.cfg": HAPROXY_CONFIG % "http-request return status 500"},
    },
    note=NOTE,
)

CADDYFILE = """\
{
    admin off
    auto_https off
    grace_period 25s
    shutdown_delay 2s
}
http://:{$PORT} {
    bind 127.0.0.1
    @leaving vars {http.shutting_down} true
    header @leaving Connection close
    %s
}
"""
CADDY = Server(
    "caddy",
    "Caddy itself at $PORT",
    "caddy",
    PROBE,
    {"Caddyfile": CADDYFILE % "reverse_proxy 127.0.0.1:9000"},
    "/usr/bin/caddy version | cut -d ' ' -f 1",
    debian=("caddy",),
    companions=(BACKEND,),
    modes=("steered",),
    bad=BAD,
    overrides={
        Behaviour.CRASH: {"Caddyfile": "no such directive\n"},
        Behaviour.ERRORS: {"Caddyfile": CADDYFILE % "respond 500"},
    },
    note=NOTE,
)

FPM_CONFIG = """\
[global]
error_log = syslog
daemonize = no
process_control_timeout = 25s
[app]
listen = 127.0.0.1:9000
pm = static
pm.max_children = 8
clear_env = no
"""
FASTCGI = """\
        location / {
            fastcgi_pass 127.0.0.1:9000;
            fastcgi_param SCRIPT_FILENAME index.php;
            fastcgi_param REQUEST_URI $request_uri;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
            fastcgi_buffering off;
            fastcgi_request_buffering off;
        }
"""
FRONT = Companion(
    "front",
    ("/usr/sbin/nginx", "-g", "daemon off;", "-p", "./", "-c", "nginx.conf"),
    {"nginx.conf": NGINX_CONFIG % FASTCGI},
    PORT,
)
PHP_FPM = Server(
    "php-fpm",
    "php-fpm behind nginx",
    "php-fpm",
    {},
    {"fpm.conf": FPM_CONFIG, "index.php": APPS / "index.php"},
    "/usr/sbin/php-fpm8.2 --version | head -n 1 | cut -d ' ' -f 2",
    debian=("php8.2-fpm", "nginx"),
    companions=(FRONT,),
    listen="127.0.0.1:9000",
    bad=(Behaviour.CRASH,),
    overrides={Behaviour.CRASH: {"fpm.conf": "no such setting\n"}},
    note="it speaks no HTTP, so no probe notices a release that answers 500",
)
SERVERS = (NGINX, HAPROXY, CADDY, PHP_FPM)
