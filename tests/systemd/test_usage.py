"""CPU time and memory of units: from systemd, from the cgroup where systemd does not account, or unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deployd.errors import SystemdError
from deployd.systemd.usage import AT_ONCE, UNKNOWN, Usage, usages


class Systemd:
    def __init__(self, **units: dict[str, Any]) -> None:
        self.units = units
        self.asked = 0
        self.most = 0

    async def read(self, unit: str, _interface: str, names: Iterable[str]) -> dict[str, Any]:
        self.asked += 1
        self.most = max(self.most, self.asked)
        await asyncio.sleep(0)
        self.asked -= 1
        if unit not in self.units:
            raise SystemdError("no such unit")
        return {name: self.units[unit][name] for name in names}


def of(systemd: Systemd, *units: str, cgroups: Path = Path("/nonexistent")) -> dict[str, Usage]:
    return asyncio.run(usages(systemd, units, cgroups))  # type: ignore[arg-type]


def test_usage_is_read_from_systemd() -> None:
    systemd = Systemd(a={"CPUUsageNSec": 1_500_000_000, "MemoryCurrent": 4096})
    assert of(systemd, "a") == {"a": Usage(1.5, 4096)}


def test_cpu_time_is_read_from_the_cgroup_without_accounting(tmp_path: Path) -> None:
    group = tmp_path / "system.slice/a.service"
    group.mkdir(parents=True)
    (group / "cpu.stat").write_text("usage_usec 250000\nuser_usec 200000\n")
    nothing = {"CPUUsageNSec": UNKNOWN, "MemoryCurrent": UNKNOWN}
    systemd = Systemd(
        a={**nothing, "ControlGroup": "/system.slice/a.service"},
        gone={**nothing, "ControlGroup": "/system.slice/gone.service"},
        down={**nothing, "ControlGroup": ""},
    )
    found = of(systemd, "a", "gone", "down", "unknown", cgroups=tmp_path)
    assert found == {"a": Usage(0.25), "gone": Usage(), "down": Usage(), "unknown": Usage()}


def test_many_units_are_read_in_batches() -> None:
    numbers = {f"u{number}": {"CPUUsageNSec": number, "MemoryCurrent": number} for number in range(3 * AT_ONCE + 1)}
    systemd = Systemd(**numbers)
    found = of(systemd, *numbers)
    assert [found[name].memory_bytes for name in numbers] == list(range(len(numbers)))
    assert systemd.most == AT_ONCE
