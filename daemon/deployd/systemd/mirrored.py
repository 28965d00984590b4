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
        "NRestarts",
        "Result",
        "ExecMainCode",
        "ExecMainStatus",
        "ExecMainStartTimestampMonotonic",
        "ExecMainExitTimestampMonotonic",
    }
)

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
