"""The properties of units that the mirror has."""

from __future__ import annotations

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
NEWS_WHEN_INACTIVE = frozenset({"Job", "ControlPID"})
"""What matters only in an inactive unit; otherwise it changes with other properties."""

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
