"""Downloads Debian packages that tests unpack into hosts, so that they need no network: python -m tests.downloads.

Servers and queues have commands of their own for that.
"""

from __future__ import annotations

import sys

from tests.ansible import controller
from tests.balancer import haproxy
from tests.capistrano import cap
from tests.fleet import cluster, wall_clock
from tests.host.root import HostRoot
from tests.servers.packages import ServersError, debian_packages
from tests.ssh.sshd import SSHD

NGINX = ("nginx-light", "openssl")
"""For the site of docs/nginx.md."""


def main() -> int:
    try:
        of_fleets = (cluster.PACKAGES, wall_clock.PACKAGES)
        for names in (controller.PACKAGES, haproxy.PACKAGES, cap.PACKAGES, NGINX, SSHD, *of_fleets):
            debian_packages(HostRoot.native(), names)
    except ServersError as error:
        print(f"tests.downloads: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
