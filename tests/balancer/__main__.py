"""Downloads what the tests of load balancers need into the cache: python -m tests.balancer --fetch."""

from __future__ import annotations

import sys

from tests.balancer.haproxy import PACKAGES
from tests.host.root import HostRoot
from tests.servers.packages import ServersError, debian_packages


def main() -> int:
    try:
        debian_packages(HostRoot.native(), PACKAGES)
    except ServersError as error:
        print(f"tests.balancer: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
