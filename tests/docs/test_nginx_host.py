"""The site of docs/nginx.md: nginx with TLS in front of an app, through releases under load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.downloads import NGINX
from tests.host.machine import Machine
from tests.host.stage import APP, RELEASES, Stage
from tests.servers.packages import debian_packages, unpack

PAGE = Path(__file__).resolve().parents[2] / "docs/nginx.md"
PLAIN = 8081
"""The load has no TLS: this port is added to the site."""
FRAME = """\
daemon off;
pid /run/nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path /tmp/nginx;
    proxy_temp_path /tmp/nginx-proxy;
    fastcgi_temp_path /tmp/nginx-fastcgi;
    uwsgi_temp_path /tmp/nginx-uwsgi;
    scgi_temp_path /tmp/nginx-scgi;
{site}}}
"""
KEY, CERTIFICATE = "/etc/ssl/private/shop.key", "/etc/ssl/certs/shop.pem"


def site(keepalive: bool) -> str:
    [found] = re.findall(r"^```nginx\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    text: str = found.replace("/srv/shop/", f"/srv/{APP}/")
    text = text.replace("    listen 443 ssl;", f"    listen 443 ssl;\n    listen 127.0.0.1:{PLAIN};")
    if keepalive:
        text = text.replace("    server 127.0.0.1:8080;", "    server 127.0.0.1:8080;\n    keepalive 32;")
    return text


def serve(machine: Machine, keepalive: bool) -> None:
    unpack(machine, debian_packages(machine.root, NGINX))
    machine.run(["mkdir", "-p", "/etc/ssl/private", "/etc/ssl/certs"])
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=shop.example.com"
    machine.run([*command.split(), "-keyout", KEY, "-out", CERTIFICATE])
    machine.write("/srv/nginx.conf", FRAME.format(site=site(keepalive)))
    machine.run(["systemd-run", "--unit=front", "/usr/sbin/nginx", "-c", "/srv/nginx.conf"])
    machine.wait_for(lambda: fetched(machine, "https://shop.example.com/"), what="nginx to serve")


def fetched(machine: Machine, url: str, *options: str) -> str:
    resolve = [f"shop.example.com:{port}:127.0.0.1" for port in (80, 443)]
    names = [word for item in resolve for word in ("--resolve", item)]
    return machine.run(["curl", "-sS", "--cacert", CERTIFICATE, *names, *options, url], check=False).stdout


@pytest.mark.sampled
@pytest.mark.parametrize("keepalive", [False, True], ids=["new", "kept"])
def test_no_request_fails_behind_nginx(own_stage: Stage, keepalive: bool) -> None:
    stage, machine = own_stage, own_stage.machine
    releases = {name: stage.release(name, mode) for name, mode in (("v2", "good"), ("v3", "crash"))}
    stage.deploy("v1")
    serve(machine, keepalive)
    assert '"version": "v1"' in fetched(machine, "https://shop.example.com/")
    redirect = fetched(machine, "http://shop.example.com/page?a=1", "-o", "/dev/null", "-w", "%{redirect_url}")
    assert redirect == "https://shop.example.com/page?a=1"
    with stage.load(100, 4, "--port", str(PLAIN)) as load:
        for name, status in (("v2", 0), ("v3", 1), ("v1", 0)):
            assert stage.rollout(releases.get(name, f"{RELEASES}/{name}")).status == status, name
        record = load.stop()
    assert not record.failed, (record.by_outcome(), record.failed[:5])
    assert {"v1", "v2"} <= {request.version for request in record.requests}, record.summary()
