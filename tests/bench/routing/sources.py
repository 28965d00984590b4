"""The servers behind each method: their Python packages, their programs and the proxies' configuration.

The packages are installed once into the checkout's cache, which the host sees; afterwards no network is needed.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.programs import ProgramsError
from tests.bench.routing.traffic import Server
from tests.host.root import CACHE, CHECKOUT, IN_HOST

PACKAGES = ("gunicorn==27.0.1", "uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0")
"""uvicorn goes without the last two where they do not fit the host's Python."""
TREE = CACHE / "bench-python"
TIMEOUT = 300
BACKLOG = 4096

WSGI = """\
import time

def app(environ, start_response):
    time.sleep(int(environ["PATH_INFO"][1:] or 0) / 1e6)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\\n"]
"""

# The pause blocks the event loop, as work would do.
ASGI = """\
import os, socket, time
import uvicorn

HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"3")]

async def app(scope, receive, send):
    time.sleep(int(scope["path"][1:] or 0) / 1e6)
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"ok\\n"})

class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        if self.started:
            address = os.environ["NOTIFY_SOCKET"]
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.sendto(b"READY=1", "\\0" + address[1:] if address[0] == "@" else address)

passed = [socket.socket(fileno=3 + number) for number in range(int(os.environ["LISTEN_FDS"]))]
options = {"lifespan": "off", "access_log": False, "log_level": "warning", "timeout_keep_alive": 75}
Server(uvicorn.Config(app, backlog=BACKLOG, timeout_graceful_shutdown=20, **options)).run(sockets=passed)
""".replace("BACKLOG", str(BACKLOG))


def provide() -> None:
    """Install the packages into the cache. Raises ProgramsError."""
    TREE.parent.mkdir(exist_ok=True)
    with TREE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp, wanted = TREE.with_suffix(".stamp"), " ".join(PACKAGES) + "\n"
        if TREE.is_dir() and stamp.exists() and stamp.read_text() == wanted:
            return
        stamp.unlink(missing_ok=True)
        shutil.rmtree(TREE, ignore_errors=True)
        argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        argv += ["--target", str(TREE), *PACKAGES]
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=TIMEOUT
        )
        if done.returncode:
            raise ProgramsError(f"{', '.join(PACKAGES)} cannot be installed: {done.stderr.strip()}")
        stamp.write_text(wanted)


def files(server: Server) -> dict[str, str]:
    """Return the files of the server's release."""
    return {"run.py": ASGI} if server.name == "event" else {"app.py": WSGI}


def command(server: Server) -> list[str]:
    """Return the command line that runs an instance in its release."""
    if server.name == "event":
        return ["/usr/bin/python3", "run.py"]
    kind = ["--worker-class", server.name, "--threads", str(server.slots)]
    options = ["--workers", "1", "--keep-alive", "75", "--backlog", str(BACKLOG), "--log-level", "warning"]
    return ["/usr/bin/python3", "-m", "gunicorn", *kind, *options, "app:app"]


def environment() -> dict[str, str]:
    """Return the variables of an instance, which are the same behind each method."""
    return {"PYTHONPATH": str(IN_HOST / TREE.relative_to(CHECKOUT)), "PYTHONDONTWRITEBYTECODE": "1"}


def nginx(directory: Path, port: int, behind: Sequence[int]) -> str:
    """Return a configuration with least_conn, as many workers as CPUs and persistent connections to the instances."""
    servers = " ".join(f"server 127.0.0.1:{each};" for each in behind)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = " ".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
    return f"""\
daemon off; user root; worker_processes auto; pid {directory}/nginx.pid; error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off; {paths}
  upstream instances {{ zone instances 128k; least_conn; {servers} keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} backlog={BACKLOG};
    location / {{ proxy_pass http://instances; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


def haproxy(port: int, behind: Sequence[int]) -> str:
    """Return a configuration with leastconn, a thread for each CPU and persistent connections, the defaults."""
    servers = "\n".join(f"  server i{each} 127.0.0.1:{each}" for each in behind)
    return f"""\
global
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend clients
  bind 127.0.0.1:{port} backlog {BACKLOG}
  default_backend instances
backend instances
  balance leastconn
{servers}
"""
