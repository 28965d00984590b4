"""Downloads what the tests of the collection need into the cache: python -m tests.ansible --fetch."""

from __future__ import annotations

import sys

from tests.ansible.controller import PACKAGES
from tests.host.root import HostRoot
from tests.servers.packages import ServersError, debian_packages
from tests.ssh.sshd import SSHD


def main() -> int:
    try:
        for names in (PACKAGES, SSHD):
            debian_packages(HostRoot.native(), names)
    except ServersError as error:
        print(f"tests.ansible: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
