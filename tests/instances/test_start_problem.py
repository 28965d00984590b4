"""Why a start job has left an instance inactive."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any
from unittest.mock import create_autospec

import pytest

from deployd.errors import SystemdError
from deployd.instances.start_problem import start_problem
from deployd.systemd.manager import Systemd

UNIT = "demo@1.service"
CONDITIONS = [
    ["ConditionPathExists", False, False, "/pins/1", 1],
    ["ConditionHost", False, True, "web1", -1],
]
UNITS: dict[str, dict[str, Any]] = {
    UNIT: {"Requires": ["sysinit.target", "db.service"], "Requisite": [], "BindsTo": [], "Conditions": CONDITIONS},
    "sysinit.target": {"ActiveState": "active", "LoadState": "loaded"},
    "db.service": {"ActiveState": "failed", "LoadState": "loaded"},
}


@pytest.mark.parametrize(
    ("result", "tried", "units", "expected"),
    [
        ("done", True, UNITS, "it exited, or was stopped, at once"),
        ("done", False, UNITS, "ConditionHost=!web1 of its unit is false"),
        ("done", False, {}, "a Condition of its unit is false"),
        ("dependency", True, UNITS, "db.service, which it requires, is failed; see systemctl status db.service"),
        (
            "dependency",
            True,
            {**UNITS, "db.service": {"ActiveState": "inactive", "LoadState": "not-found"}},
            "db.service, which it requires, is not-found; see systemctl status db.service",
        ),
        ("dependency", True, {}, "its start job ended with dependency"),
        ("assert", True, UNITS, "an Assert of its unit is false"),
        ("a result of the future", True, UNITS, "its start job ended with a result of the future"),
    ],
)
def test_reasons(result: str, tried: bool, units: dict[str, dict[str, Any]], expected: str) -> None:
    async def read(unit: str, interface: str, names: Iterable[str]) -> dict[str, Any]:
        if unit not in units:
            raise SystemdError("no answer")
        return {name: units[unit][name] for name in names}

    systemd = create_autospec(Systemd, instance=True)
    systemd.properties.return_value = {"ConditionResult": tried}
    systemd.read.side_effect = read
    assert asyncio.run(start_problem(systemd, UNIT, result)) == expected
