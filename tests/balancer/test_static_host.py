"""Checks other than httpchk at the health endpoint: HAProxy asks nginx for the file of a drain; a command."""

from __future__ import annotations

import pytest

from tests.balancer.haproxy import NO_NEW, UP
from tests.balancer.site import command, site
from tests.host.fixtures import MachineFactory
from tests.host.machine import Machine
from tests.host.root import HostRoot
from tests.host.stage import APP
from tests.servers.packages import debian_packages, unpack

pytestmark = pytest.mark.thorough

CHECK = "option httpchk GET /up\nhttp-check disable-on-404"
CHECK_PORT = 8081
NGINX = f"""\
user nobody nogroup;
daemon off;
pid /run/static.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    server {{
        listen {CHECK_PORT};
        location = /up {{ alias /var/lib/deployd/up/apps/{APP}; }}
    }}
}}
"""
SERVER = "static.service"
CURL = ["curl", "--silent", "--fail", "--max-time", "10", "--output", "/dev/null", f"http://127.0.0.1:9968/{APP}"]


def serve_files(host: Machine, root: HostRoot) -> None:
    """Start nginx of Debian on a host."""
    unpack(host, debian_packages(root, ("nginx",)))
    host.write("/etc/static.conf", NGINX)
    nginx = ["/usr/sbin/nginx", "-e", "stderr", "-c", "/etc/static.conf"]
    host.run(["systemd-run", f"--unit={SERVER}", *nginx])


def test_a_drain_is_a_missing_file_and_a_status_of_a_command(
    machine: Machine, machine_factory: MachineFactory, host_root: HostRoot
) -> None:
    hosts = [machine, machine_factory("web2")]
    for host in hosts:
        serve_files(host, host_root)
    front = machine_factory("front", install=False)
    with site(hosts, front, CHECK, CHECK_PORT) as behind, behind.balancer.load(rate=100, keepalive=4) as load:
        one, _ = behind.stages
        assert machine.run(CURL, user="nobody", check=False).returncode == 0
        command(one, "drain")
        behind.balancer.wait(host=NO_NEW, web2=UP)
        assert machine.run(CURL, user="nobody", check=False).returncode == 22, "--fail"
        command(one, "undrain")
        behind.balancer.wait(host=UP)
        record = load.stop()
    machine.run(["systemctl", "stop", SERVER])
    assert not record.failed, (record.failed[:5], record.summary())
