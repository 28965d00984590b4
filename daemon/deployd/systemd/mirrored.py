"""The properties of units that the mirror has."""

from __future__ import annotations

from deployd.model import unit_name
from deployd.systemd.proxy import SERVICE, TIMER, UNIT

UNIT_PROPERTIES = frozenset(
    {
        "ActiveState",
        "SubState",
        "LoadState",
        "InvocationID",
        "InactiveExitTimestampMonotonic",
        "ActiveEnterTimestampMonotonic",
        "ActiveExitTimestampMonotonic",
        "ConditionResult",
        "Job",
    }
)
SOCKET_PROPERTIES = frozenset(
    {"ActiveState", "SubState", "LoadState", "InvocationID", "ActiveEnterTimestampMonotonic", "Job"}
)
"""Those of UNIT_PROPERTIES that are read of a socket."""
SERVICE_PROPERTIES = frozenset(
    {
        "MainPID",
        "ControlPID",
        "NRestarts",
        "Result",
        "ExecMainCode",
        "ExecMainStatus",
        "ExecMainStartTimestampMonotonic",
        "ExecMainExitTimestampMonotonic",
    }
)
TIMER_PROPERTIES = frozenset({"NextElapseUSecRealtime", "LastTriggerUSec"})
BY_INTERFACE = {UNIT: UNIT_PROPERTIES, SERVICE: SERVICE_PROPERTIES, TIMER: TIMER_PROPERTIES}

NEWS_WHEN_INACTIVE = frozenset({"Job", "ControlPID"})
"""What matters only in an inactive unit; otherwise it changes with other properties."""

NO_NEWS_OF_SOCKETS = frozenset({"SubState"})
"""What says of a socket only whether a process has it at the moment."""

OF_ACTIVE = frozenset(
    {
        "InvocationID",
        "InactiveExitTimestampMonotonic",
        "ActiveEnterTimestampMonotonic",
        "MainPID",
        "NRestarts",
        "ExecMainStartTimestampMonotonic",
    }
)
"""What is read of an active unit besides its states. The rest says how it ended, and comes with the signals of that."""


def names(unit: str) -> list[tuple[str, str]]:
    """Return the properties of a unit that the mirror has, as (interface, name)."""
    if unit_name.is_socket(unit):
        return [(UNIT, name) for name in SOCKET_PROPERTIES]
    interfaces = [UNIT]
    if unit_name.is_service(unit):
        interfaces.append(SERVICE)
    elif unit_name.is_timer(unit):
        interfaces.append(TIMER)
    return [(interface, name) for interface in interfaces for name in BY_INTERFACE[interface]]
