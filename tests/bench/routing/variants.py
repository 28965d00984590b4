"""Runs the same server behind each method on a host: each with instances of its own, but the proxies share theirs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench import programs, rig
from tests.bench.routing import sources
from tests.bench.routing.traffic import HAPROXY, HASH, METHODS, NGINX, SHARED, STEERED, Server
from tests.host.machine import Machine

DIRECTORY = Path("/srv/routing")
PORTS = {method: rig.PORT + number for number, method in enumerate(METHODS)}
BEHIND = 9000
"""The port of instance N behind a proxy is this plus N."""
UNITS = {STEERED: STEERED, SHARED: SHARED, HASH: "bench-hash"}
"""The name of the template unit of the instances."""


def release(machine: Machine, server: Server) -> Path:
    """Write the server's release on the host; return its path there."""
    directory = DIRECTORY / server.name
    for name, text in sources.files(server).items():
        machine.write(directory / name, text)
    return directory


@contextmanager
def running(machine: Machine, server: Server, methods: Sequence[str]) -> Iterator[None]:
    """Run the server behind each of the methods, on the method's port."""
    directory = release(machine, server)
    with ExitStack() as stack:
        for method in (STEERED, SHARED):
            if method in methods:
                deploy(machine, method, server, directory, PORTS[method], routing=method)
                stack.callback(rig.remove, machine, method)
        if HASH in methods:
            stack.enter_context(_instances(machine, UNITS[HASH], server, directory, str(PORTS[HASH]), shared=True))
        behind = [BEHIND + number for number in range(1, server.instances + 1)]
        if {NGINX, HAPROXY} & {*methods}:
            stack.enter_context(_instances(machine, "bench-behind", server, directory, f"{BEHIND // 10}%i"))
        if NGINX in methods:
            machine.write(DIRECTORY / "nginx.conf", sources.nginx(DIRECTORY, PORTS[NGINX], behind))
            stack.enter_context(_proxy(machine, NGINX, ["-c", str(DIRECTORY / "nginx.conf"), "-e", "stderr"]))
        if HAPROXY in methods:
            machine.write(DIRECTORY / "haproxy.cfg", sources.haproxy(PORTS[HAPROXY], behind))
            stack.enter_context(_proxy(machine, HAPROXY, ["-db", "-f", str(DIRECTORY / "haproxy.cfg")]))
        for method in methods:
            _warm(machine, PORTS[method], 4 * server.instances * server.slots)
        yield


def deploy(machine: Machine, name: str, server: Server, directory: Path, port: int, **overrides: object) -> None:
    """Deploy an app of the server's instances."""
    settings = {"exec": sources.command(server), "environment": sources.environment()}
    settings["socket"] = {"Backlog": sources.BACKLOG}
    rig.deploy(machine, name, server.instances, directory, port, **settings, **overrides)


@contextmanager
def _instances(
    machine: Machine, name: str, server: Server, directory: Path, port: str, shared: bool = False
) -> Iterator[None]:
    """Run the instances without deployd, each with a socket of its own; with `shared` all have the same address."""
    variables = " ".join(f"{key}={value}" for key, value in sources.environment().items())
    machine.write(
        f"/etc/systemd/system/{name}@.socket",
        f"[Socket]\nListenStream=127.0.0.1:{port}\nReusePort={'yes' if shared else 'no'}\nBacklog={sources.BACKLOG}\n",
    )
    machine.write(
        f"/etc/systemd/system/{name}@.service",
        f"[Service]\nType=notify\nNotifyAccess=all\nWorkingDirectory={directory}\nEnvironment={variables}\n"
        f"ExecStart={' '.join(sources.command(server))}\nLimitNOFILE=65536\n",
    )
    machine.run(["systemctl", "daemon-reload"])
    numbers = range(1, server.instances + 1)
    sockets = [f"{name}@{number}.socket" for number in numbers]
    services = [f"{name}@{number}.service" for number in numbers]
    try:
        machine.run(["systemctl", "start", *sockets])
        machine.run(["systemctl", "start", *services], timeout=rig.LIMIT)
        yield
    finally:
        machine.run(["systemctl", "stop", *sockets, *services], check=False, timeout=rig.LIMIT)


@contextmanager
def _proxy(machine: Machine, name: str, options: Sequence[str]) -> Iterator[None]:
    unit = f"bench-{name}.service"
    run = ["systemd-run", "--quiet", f"--unit={unit}", "--collect", "--property=LimitNOFILE=65536"]
    machine.run([*run, *programs.command(name), *options])
    try:
        yield
    finally:
        machine.run(["systemctl", "stop", unit], check=False)


def _warm(machine: Machine, port: int, requests: int) -> None:
    """Wait until the port answers, because a proxy does not report that; then let the instances answer their first."""

    def answered() -> bool:
        try:
            with machine.connect(("127.0.0.1", port)) as connection:
                connection.sendall(b"GET /0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return b" 200 " in connection.recv(4096)
        except OSError:
            return False

    machine.wait_for(answered, what=f"an answer on port {port}")
    if not all(answered() for _ in range(requests)):
        raise RuntimeError(f"a request on port {port} failed")


def connections(machine: Machine, method: str, instances: int) -> list[int]:
    """Return the number of accepted connections of each instance with a method of DIRECT, by their processes."""
    listed = machine.run(["ss", "-Htnp", "state", "established", f"( sport = :{PORTS[method]} )"]).stdout
    found = [0] * instances
    for pid, count in Counter(re.findall(r"pid=(\d+)", listed)).items():
        if unit := re.search(r"@(\d+)\.service", machine.read(f"/proc/{pid}/cgroup")):
            found[int(unit[1]) - 1] += count
    return found
