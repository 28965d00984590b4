"""Measures the cost of a connection: steered, on a shared socket, and with nginx and HAProxy in front of instances.

All variants serve the same release with as many instances, and alternate. `wrk` measures the rate of requests with
clients that send as fast as they get responses, on new connections (short) and on persistent ones (keep-alive); app,
proxies and client share the machine's CPUs. tests.load measures latencies at a rate that leaves CPUs idle.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.bench import programs, rig, wrk
from tests.bench.figure import Figure, ratio
from tests.host.machine import Machine
from tests.host.root import IN_HOST
from tests.load.client import Load
from tests.load.record import Kind

INSTANCES = 4
ROUNDS = 5
BACKLOG = 4096
CLIENTS = 32
RATE, KEPT = 150, 8
"""New connections per second, and clients with persistent ones and pauses of 50 ms, with about as many requests."""
WINDOW = 4.0

DIRECTORY = Path("/srv/serving")
STEERED, SHARED, NGINX, HAPROXY = "steered", "shared", "nginx", "haproxy"
PORTS = {STEERED: rig.PORT, SHARED: rig.PORT + 1, NGINX: rig.PORT + 2, HAPROXY: rig.PORT + 3}
BEHIND = tuple(range(rig.PORT + 4, rig.PORT + 4 + INSTANCES))
OTHERS = (SHARED, NGINX, HAPROXY)
NAMES = {STEERED: "steered", SHARED: "a shared socket", NGINX: "nginx in front", HAPROXY: "HAProxy in front"}

AIM_SHARED = 1.1
AIM_PROXY = 1.0


def nginx(port: int, behind: Sequence[int]) -> str:
    """Return a configuration with as many workers as CPUs and persistent connections to the instances."""
    servers = " ".join(f"server 127.0.0.1:{each};" for each in behind)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = " ".join(f"{kind}_temp_path {DIRECTORY}/{kind};" for kind in kinds)
    return f"""\
daemon off; user root; worker_processes auto; pid {DIRECTORY}/nginx.pid; error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off; {paths}
  upstream instances {{ {servers} keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} backlog={BACKLOG};
    location / {{ proxy_pass http://instances; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


def haproxy(port: int, behind: Sequence[int]) -> str:
    """Return a configuration with a thread for each CPU and persistent connections, the defaults."""
    servers = "\n".join(f"  server i{each} 127.0.0.1:{each}" for each in behind)
    return f"""\
global
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend clients
  bind 127.0.0.1:{port} backlog {BACKLOG}
  default_backend instances
backend instances
  balance roundrobin
{servers}
"""


@dataclass(slots=True)
class Found:
    """The measurements of one variant, one per round, in seconds."""

    each: dict[Kind, list[float]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    """1 / rate under full load."""
    p50: dict[Kind, list[float]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    p99: dict[Kind, list[float]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    busy: list[float] = field(default_factory=list)
    paced: list[float] = field(default_factory=list)
    failed: int = 0


def prepare() -> None:
    programs.provide()


def measure(machine: Machine) -> list[Figure]:
    machine.clean()
    found = {way: Found() for way in PORTS}
    with _all(machine):
        for number in range(ROUNDS):
            ways = list(PORTS)
            for way in ways[number % len(ways) :] + ways[: number % len(ways)]:  # so that the order differs
                for kind in Kind:
                    _full(machine, way, kind, found[way])
                _paced(machine, way, found[way])
            print(f"serving: round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
    return figures(found)


def figures(found: Mapping[str, Found]) -> list[Figure]:
    """Return the lines of the table. Rates are inverted, because less is better in all figures."""
    lines = []
    words = {Kind.FRESH: "short", Kind.KEEPALIVE: "keep-alive"}
    for kind, word in words.items():
        lines += _against(f"time per request, {word}, full load", {way: item.each[kind] for way, item in found.items()})
        for percent in (50, 99):
            times = {way: (item.p50 if percent == 50 else item.p99)[kind] for way, item in found.items()}
            lines += _against(f"p{percent}, {word}, {RATE:g} + {RATE:g}/s", times)
    busiest = max(share for item in found.values() for share in item.busy)
    paced = max(share for item in found.values() for share in item.paced)
    return [
        *lines,
        Figure("failed requests", sum(item.failed for item in found.values()), "", 0),
        Figure("CPU usage of the client at most, full load", busiest, "", 0.8),
        Figure("  at the rate of the latencies", paced, "", 0.5),
    ]


def _against(what: str, times: Mapping[str, Sequence[float]]) -> list[Figure]:
    own = times[STEERED]
    ratios = [
        Figure(
            f"{what}: steered against {NAMES[way]}",
            ratio(own, times[way]),
            "times",
            AIM_SHARED if way == SHARED else AIM_PROXY,
        )
        for way in OTHERS
    ]
    return [*ratios, *(Figure(f"  of {NAMES[way]}", median(times[way]) * 1000, "ms") for way in (STEERED, *OTHERS))]


def _full(machine: Machine, way: str, kind: Kind, found: Found) -> None:
    run = wrk.run(machine, PORTS[way], CLIENTS, WINDOW, kind)
    found.each[kind].append(run.each)
    found.busy.append(run.busy)
    found.failed += run.failed


def _paced(machine: Machine, way: str, found: Found) -> None:
    environment = {"PYTHONPATH": str(IN_HOST)}
    python = str(machine.root.python)
    with Load.start(machine.popen, PORTS[way], RATE, KEPT, python=python, env=environment) as load:
        start = load.mark("began")
        time.sleep(WINDOW)  # the steady state to be measured
        end = load.mark("ended")
        record = load.stop()
    found.paced.append(record.facts["cpu_share"])
    found.failed += len(record.failed)
    window = record.window(start, end)
    for kind in Kind:
        of_kind = window.of_kind(kind)
        found.p50[kind].append(of_kind.percentile(50))
        found.p99[kind].append(of_kind.percentile(99))


@contextmanager
def _all(machine: Machine) -> Iterator[None]:
    """Run all variants, each on its port."""
    release = rig.release(machine, "serving", "v1")
    machine.write(DIRECTORY / "nginx.conf", nginx(PORTS[NGINX], BEHIND))
    machine.write(DIRECTORY / "haproxy.cfg", haproxy(PORTS[HAPROXY], BEHIND))
    socket = {"Backlog": BACKLOG}
    with ExitStack() as stack:
        apps = [(way, INSTANCES, PORTS[way], {"routing": way}) for way in (STEERED, SHARED)]
        apps += [(f"behind{port}", 1, port, {"routing": SHARED}) for port in BEHIND]
        for name, instances, port, settings in apps:
            rig.deploy(machine, name, instances, release, port, socket=socket, **settings)
            stack.callback(rig.remove, machine, name)
        front = {
            NGINX: ["-c", str(DIRECTORY / "nginx.conf"), "-e", "stderr"],
            HAPROXY: ["-db", "-f", str(DIRECTORY / "haproxy.cfg")],
        }
        for name, options in front.items():
            unit = f"bench-{name}.service"
            run = ["systemd-run", "--quiet", f"--unit={unit}", "--collect", "--property=LimitNOFILE=65536"]
            machine.run([*run, *programs.command(name), *options])
            stack.callback(machine.run, ["systemctl", "stop", unit], check=False)
        for port in PORTS.values():
            _answers(machine, port)
        yield


def _answers(machine: Machine, port: int) -> None:
    """Wait for a response, because a proxy does not report when it is ready."""

    def answered() -> bool:
        try:
            with machine.connect(("127.0.0.1", port)) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return b" 200 " in connection.recv(4096)
        except OSError:
            return False

    machine.wait_for(answered, what=f"an answer on port {port}")
