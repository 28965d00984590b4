"""`python -m tests.demo_fleet`: three hosts, etcd and HAProxy under load. Exits with 1 if a check fails."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from tests.balancer.haproxy import Balancer
from tests.demo.page import Page
from tests.demo_fleet.show import HOSTS, Show
from tests.fleet.site import Site
from tests.host.machine import Machine, MachineError
from tests.host.root import HostRoot, RootError
from tests.host.sources import SourcesError
from tests.host.stage import PORT
from tests.host.waiting import WaitError
from tests.load.client import LoadError
from tests.servers.packages import ServersError

INTERRUPTED = 130  # 128 + SIGINT, as in shells


def settings_of(argv: Sequence[str]) -> argparse.Namespace:
    arguments = argparse.ArgumentParser(prog="python3 -m tests.demo_fleet")
    arguments.add_argument("--rate", type=float, default=100, help="new connections per second")
    arguments.add_argument("--keepalive", type=int, default=8, help="number of clients with persistent connections")
    arguments.add_argument("--json", action="store_true", help="print what was counted as JSON, all else on stderr")
    return arguments.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Run the demonstration; return the exit status."""
    settings = settings_of(argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # they are TextIOWrappers here
    page = Page(sys.stderr if settings.json else sys.stdout)
    try:
        found = demonstrate(settings, page)
    except KeyboardInterrupt:
        page.interrupted("Interrupted. The hosts and everything on them have been removed.")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe. Python must not flush to it at exit, which would print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), page.stream.fileno())
        return 1
    except (MachineError, RootError, SourcesError, ServersError, LoadError, WaitError, AssertionError) as error:
        page.say("")
        sys.stderr.write(f"demo-fleet: {error}\n")
        return 1
    if settings.json:
        print(json.dumps(found))
    page.prose("The hosts have been removed." if found["ok"] else "The hosts have been removed. Some checks failed.")
    return 0 if found["ok"] else 1


def demonstrate(settings: argparse.Namespace, page: Page) -> dict[str, Any]:
    page.heading("deployd: three hosts, one release after another, and a power cut")
    page.prose(
        "This boots three disposable hosts with deployd, each with a systemd of its own, and a fourth one with "
        "HAProxy, on a network of their own. Your system is not changed, nothing is left behind, and ^C ends it "
        "at any time."
    )
    with ExitStack() as stack:
        root = HostRoot.from_environment()
        machines = []
        for name in (*HOSTS, "front"):
            page.progress(f"booting {name} …")
            machines.append(stack.enter_context(Machine.boot(name, root, install=name != "front")))
        *hosts, front = machines
        site = Site(hosts)
        for stage in site.stages:
            stage.settings = {"listen": [f"0.0.0.0:{PORT}"]}
            stage.systemctl("enable", "--now", "deployd-health.socket")
        page.progress("etcd, and the first release …")
        stack.enter_context(site)
        site.subnet.attach(front)
        page.progress("HAProxy …")
        balancer = Balancer.start(front, site.subnet, hosts)
        page.say("")
        page.prose(f"All of them are running. {', '.join(HOSTS)} serve v1, and HAProxy asks each of them every 100 ms.")
        found = Show(site, balancer, page, settings.rate, settings.keepalive).perform()
        stack.callback(signal.signal, signal.SIGINT, signal.SIG_IGN)  # the hosts are being removed
        return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
