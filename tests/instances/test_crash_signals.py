"""Crashes are counted once each, whatever part of systemd's signals an observation falls between."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from deployd.model.crashes import Crashes
from deployd.plan.backoff import Patience, judge
from deployd.systemd import observe

BOOTED = {"InactiveExitTimestampMonotonic": 1_000_000, "ActiveEnterTimestampMonotonic": 2_000_000}
EXITED = {"Result": "exit-code", "ExecMainCode": 1, "ExecMainStatus": 5}
SIGNALS: list[dict[str, Any]] = [
    {"MainPID": 0, **EXITED},
    {"ActiveState": "deactivating", "SubState": "stop-post"},
    {"ActiveState": "failed", "SubState": "failed"},
    {"ActiveState": "activating", "SubState": "auto-restart"},
    {"NRestarts": "+1"},
    {"Job": [12, "/org/freedesktop/systemd1/job/12"]},
    {"MainPID": 74, "Result": "success", "ExecMainCode": 0, "ExecMainStatus": 0},
    {"ActiveState": "inactive", "SubState": "dead", "InvocationID": "new"},
    {"ActiveState": "activating", "SubState": "start"},
    {"ActiveState": "active", "SubState": "running", "Job": [0, "/"]},
]
"""What changed from a crash to the next start, as systemd 252 signalled it on a busy machine."""

MUST_BE_SEEN = 3
"""The wait for the restart, which lasts for RestartSec=."""


@given(st.lists(st.sets(st.sampled_from(range(len(SIGNALS))).filter(MUST_BE_SEEN.__ne__)), min_size=1, max_size=4))
def test_each_crash_counts_once(lives: list[set[int]]) -> None:
    """`lives`: after which signals the instance is observed, for each of its crashes."""
    properties: dict[str, Any] = {
        "ActiveState": "active",
        "NRestarts": 0,
        "InvocationID": b"\0",
        "MainPID": 73,
        **BOOTED,
    }
    known: Crashes | None = None
    patience = Patience(limit=100)
    known = judge(known, observe.instance(2, 1, properties), 0.0, patience).crashes
    for life, seen in enumerate(lives, 1):
        for place, signal in enumerate(SIGNALS):
            special = {"NRestarts": life, "InvocationID": bytes([life])}
            properties |= {key: special.get(key, value) for key, value in signal.items()}
            if place in seen or place == MUST_BE_SEEN:
                known = judge(known, observe.instance(2, 1, properties), 0.0, patience).crashes
        known = judge(known, observe.instance(2, 1, properties), 0.0, patience).crashes
        assert known.count == life, known
