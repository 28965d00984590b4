"""Apps on a disposable host for the measurements, and timed rollouts."""

from __future__ import annotations

import os
import re
import time
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployd.api import Client
from tests.host.machine import Machine
from tests.on_bus import run
from tests.sample_apps.release import app_file, make_release

LIMIT = 300.0
PORT = 8080

# A shell that executes sleep is the lightest notify service available everywhere: it boots in 5 to 10 ms, most of which
# is systemd-notify; Python takes 20 to 30 ms.
LIGHT: dict[str, Any] = {
    "exec": ["/bin/sh", "-c", "systemd-notify --ready; exec sleep infinity"],
    "service": {"NotifyAccess": "all"},
}
IN_PLACE: dict[str, Any] = {"max_surge": 0, "max_unavailable": 1}
SURGE: dict[str, Any] = {"max_surge": 1, "max_unavailable": 0}


@dataclass(frozen=True, slots=True)
class Rollout:
    """The duration of a rollout in seconds: from the first event to the last, and including the request."""

    events: float
    whole: float


def release(machine: Machine, name: str, version: str, **options: Any) -> Path:
    """Write a release of the demo application on the host; return its path there."""
    make_release(machine.path("/srv") / name / version, version, **options)
    return Path("/srv") / name / version


def deploy(machine: Machine, name: str, instances: int, directory: Path, port: int = PORT, **overrides: Any) -> None:
    """Write the app file and deploy the app."""
    machine.write(f"/etc/deployd/apps/{name}.toml", app_file(name, directory, port, instances, **overrides))
    machine.run(["deployd", "apply", name], timeout=LIMIT)


def remove(machine: Machine, name: str) -> None:
    machine.run(["deployd", "remove", name], timeout=LIMIT)


def daemon(machine: Machine) -> Path:
    """Return the daemon's directory in the host's /proc."""
    pid = machine.run(["systemctl", "show", "--property=MainPID", "--value", "deployd"]).stdout.strip()
    return machine.path(f"/proc/{pid}")


def memory(machine: Machine) -> dict[str, float]:
    """Return the daemon's memory in megabytes by kind, such as Rss and Pss."""
    text = (daemon(machine) / "smaps_rollup").read_text()
    return {kind: int(size) / 1024 for kind, size in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)}


def processor(machine: Machine) -> float:
    """Return the CPU time of the daemon so far, in seconds."""
    fields = (daemon(machine) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def restart(machine: Machine, name: str) -> Rollout:
    """Run `deployd restart`, without the start of the command."""
    return run(_rollout(machine, name, None))


def rollout(machine: Machine, name: str, directory: Path) -> Rollout:
    """Run `deployd rollout --release`, without the start of the command."""
    return run(_rollout(machine, name, directory))


async def _rollout(machine: Machine, name: str, directory: Path | None) -> Rollout:
    async with await Client.connect(machine.bus_address) as client, client.watch(name) as watch:
        asked, first, last = time.monotonic(), 0.0, {"result": "lost"}
        generation = await (client.rollout(name, release=str(directory)) if directory else client.restart(name))
        async with aclosing(watch.until_finished(generation, deadline=LIMIT)) as events:
            async for event in events:
                first, last = first or time.monotonic(), event
    if last.get("result") != "succeeded":
        raise RuntimeError(f"the rollout of {name} did not succeed: {last}")
    ended = time.monotonic()
    return Rollout(ended - first, ended - asked)
