"""Comparison of the mirror with the list of units: which units are read again after a daemon-reload."""

from __future__ import annotations

from typing import Any

import pytest

from deployd.systemd.comparison import UnitState, differs

UP: dict[str, Any] = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "Job": [0, "/"]}
DOWN: dict[str, Any] = {"LoadState": "loaded", "ActiveState": "inactive", "SubState": "dead", "Job": [0, "/"]}


@pytest.mark.parametrize(
    ("mirror", "listed", "expected"),
    [
        (UP, UnitState("loaded", "active", "running", 0), False),
        (UP, UnitState("loaded", "active", "running", 7), False),
        (UP, UnitState("loaded", "activating", "auto-restart", 0), True),
        (UP, UnitState("masked", "active", "running", 0), True),
        (UP, None, True),
        (DOWN, None, False),
        (DOWN, UnitState("loaded", "inactive", "dead", 0), False),
        (DOWN, UnitState("loaded", "inactive", "dead", 7), True),
        ({}, UnitState("loaded", "active", "running", 0), True),
        ({}, None, True),
    ],
)
def test_units_that_differ_are_found(mirror: dict[str, Any], listed: UnitState | None, expected: bool) -> None:
    assert differs(mirror, listed) is expected
