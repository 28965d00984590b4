"""Why a start job has left a unit inactive: a condition that is false, a unit that it requires, another job."""

from __future__ import annotations

from typing import Any

from deployd.errors import SystemdError
from deployd.model import advice
from deployd.systemd.manager import Systemd
from deployd.systemd.proxy import UNIT

REQUIREMENTS = ("Requires", "Requisite", "BindsTo")
MOST = 32
"""Required units that are read."""

_WORDS = {
    "canceled": "another job, such as a stop, took the place of its start job",
    "timeout": "its start job did not begin in time (JobTimeoutSec=)",
    "assert": "an Assert of its unit is false",
    "collected": "systemd had no use for its start job any more",
    "unsupported": "systemd does not support its unit here",
}


async def start_problem(systemd: Systemd, unit: str, result: str) -> str:
    """Return why `unit` is inactive after its start job has ended with `result`."""
    if result == "done" and systemd.properties(unit).get("ConditionResult"):
        return "it exited, or was stopped, at once"
    try:
        if result == "done":
            return false_condition((await systemd.read(unit, UNIT, ["Conditions"])).get("Conditions"))
        if result == "dependency":
            return await _dependency(systemd, unit)
    except SystemdError:
        pass
    if result == "done":
        return false_condition(None)
    return _WORDS.get(result, f"its start job ended with {result}")


def false_condition(conditions: Any) -> str:
    """Return which condition is false, by the unit's property Conditions (org.freedesktop.systemd1(5)).

    Its elements are (name, trigger, negate, parameter, state); the state of one that is false is negative.
    """
    for name, _, negate, parameter, state in conditions if isinstance(conditions, list) else ():
        if state < 0:
            return f"{name}={'!' if negate else ''}{parameter} of its unit is false"
    return "a Condition of its unit is false"


async def _dependency(systemd: Systemd, unit: str) -> str:
    required = await systemd.read(unit, UNIT, REQUIREMENTS)
    names = [name for key in REQUIREMENTS for name in required.get(key) or ()]
    for name in names[:MOST]:
        state = await systemd.read(name, UNIT, ["ActiveState", "LoadState"])
        if state["LoadState"] not in ("loaded", "stub"):
            return f"{name}, which it requires, is {state['LoadState']}; see {advice.systemctl()} status {name}"
        if state["ActiveState"] not in ("active", "reloading", "activating"):
            return f"{name}, which it requires, is {state['ActiveState']}; see {advice.systemctl()} status {name}"
    return "a unit that it requires could not be started"
