"""What a unit has used: CPU time and memory, as systemd accounts for them.

Facts it stands on (252 and later, cgroup v2): CPUAccounting= is on by default there, for it costs nothing, and so is
MemoryAccounting=; what is not known is UINT64_MAX. The count begins anew with every start of the unit, automatic
restarts included. Where accounting was switched off the kernel counts CPU time all the same (cpu.stat of a cgroup needs
no controller); memory it does not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deployd.errors import SystemdError
from deployd.systemd.manager import SERVICE, Systemd

log = logging.getLogger(__name__)

UNKNOWN = 2**64 - 1
AT_ONCE = 8
"""Units that are asked for together: others want to ask systemd meanwhile."""
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one unit since it was started; None where that is not to be had."""

    cpu_seconds: float | None = None
    memory_bytes: int | None = None


async def usages(systemd: Systemd, units: Iterable[str], cgroups: Path = CGROUPS) -> dict[str, Usage]:
    """Of each of `units`. Never raises: a unit that systemd does not tell of has an unknown one."""
    wanted, found = list(units), dict[str, Usage]()
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        found |= zip(some, await asyncio.gather(*(_usage(systemd, unit, cgroups) for unit in some)), strict=True)
    return found


async def _usage(systemd: Systemd, unit: str, cgroups: Path) -> Usage:
    try:
        seen = await systemd.read(unit, SERVICE, ("CPUUsageNSec", "MemoryCurrent"))
        cpu, memory = int(seen["CPUUsageNSec"]), int(seen["MemoryCurrent"])
        if cpu == UNKNOWN:
            group = await systemd.read(unit, SERVICE, ("ControlGroup",))
            seconds = _cpu_of(cgroups, str(group["ControlGroup"]))
        else:
            seconds = cpu / 1e9
    except SystemdError as error:
        log.debug("%s: %s, ignoring", unit, error)
        return Usage()
    return Usage(seconds, None if memory == UNKNOWN else memory)


def _cpu_of(cgroups: Path, group: str) -> float | None:
    """``usage_usec`` of cpu.stat (cgroup-v2.rst of the kernel); what does not run has no path."""
    if not group.strip("/"):
        return None
    try:
        text = (cgroups / group.lstrip("/") / "cpu.stat").read_text(encoding="ascii")
        fields = dict(line.split(" ", 1) for line in text.splitlines())
        return int(fields["usage_usec"]) / 1e6
    except (OSError, ValueError, KeyError):
        return None
