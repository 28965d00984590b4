"""CPU time and memory of units, as systemd accounts for them.

CPUAccounting= and MemoryAccounting= are on by default with systemd 252 and later and cgroup v2; an unknown value is
UINT64_MAX. Each start of the unit resets the values, automatic restarts included. Where CPUAccounting= is off, the
kernel counts CPU time nevertheless (cpu.stat of a cgroup needs no controller), but no memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deployd.errors import SystemdError
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import SERVICE

log = logging.getLogger(__name__)

UNKNOWN = 2**64 - 1
AT_ONCE = 8
"""Units that are read at the same time; more would delay other calls of systemd."""
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage of one unit since its start; None where it is unknown."""

    cpu_seconds: float | None = None
    memory_bytes: int | None = None


async def usages(systemd: Systemd, units: Iterable[str], cgroups: Path = CGROUPS) -> dict[str, Usage]:
    """Return the usage of each of `units`. Never raises: where systemd reports an error the usage is unknown."""
    wanted, found = list(units), dict[str, Usage]()
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        found |= zip(some, await asyncio.gather(*(_usage(systemd, unit, cgroups) for unit in some)), strict=True)
    return found


async def _usage(systemd: Systemd, unit: str, cgroups: Path) -> Usage:
    try:
        properties = await systemd.read(unit, SERVICE, ("CPUUsageNSec", "MemoryCurrent"))
        cpu, memory = int(properties["CPUUsageNSec"]), int(properties["MemoryCurrent"])
        if cpu == UNKNOWN:
            group = await systemd.read(unit, SERVICE, ("ControlGroup",))
            seconds = cpu_seconds(str(group["ControlGroup"]), cgroups)
        else:
            seconds = cpu / 1e9
    except SystemdError as error:
        log.debug("%s: %s, ignoring", unit, error)
        return Usage()
    return Usage(seconds, None if memory == UNKNOWN else memory)


def cpu_seconds(group: str, cgroups: Path = CGROUPS) -> float | None:
    """Return ``usage_usec`` of cpu.stat (cgroup-v2.rst of the kernel) in seconds. An inactive unit has no group."""
    if not group.strip("/"):
        return None
    try:
        text = (cgroups / group.lstrip("/") / "cpu.stat").read_text(encoding="ascii")
        fields = dict(line.split(" ", 1) for line in text.splitlines())
        return int(fields["usage_usec"]) / 1e6
    except (OSError, ValueError, KeyError):
        return None
