"""Any JSON that a daemon might send, and what is true of each text."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from hypothesis import strategies as st

from deployd_cli.text.words import columns

NOW = datetime(2026, 1, 2, 4, 4, 5, tzinfo=UTC)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
# fmt: off
KEYS = [
    "app", "preview", "generation", "release", "desired", "ready", "routing", "rollout", "instances", "instance",
    "unit",
    "state", "main_pid", "since", "restarts", "weight", "phase", "from", "to", "reason", "generations", "cause",
    "result", "started", "finished", "replaced", "adopted", "duration", "event", "actions", "action", "floor",
    "units", "name", "path", "text", "installed", "apps", "valid", "error", "failure", "gate", "waited_for", "waited",
    "exit_status", "signal", "journal", "hook", "command", "pause", "waits_for", "how", "holds", "new", "canary",
    "boot", "count", "median", "max", "gate_timeout", "gate_timeout_learned", "irreversible", "crashes", "retry_at",
    "detail", "probe_error", "steering", "steering_reason", "shares", "standby", "asked", "seen", "connections",
    "queue", "until", "files", "link", "files_error",
    "timers", "timer", "next", "active", "running",
]
WORDS = [
    "demo", "ready", "starting", "stopping", "stopped", "failed", "adopted", "inactive", "rolling", "rolling-back",
    "paused", "steered", "standby", "freezing", "thawing", "ebpf",
    "succeeded", "rolled-back", "aborted", "superseded", "running", "started", "instance",
    "failed-gate", "probe", "resumed", "closing", "hook", "before", "after", "held", "finished", "daemon-lost",
    "daemon-back", "2026-01-02T03:04:05+00:00",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-02",
]
# fmt: on
values = st.recursive(
    scalars | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=8),
    max_leaves=30,
)
odd = st.dictionaries(st.sampled_from(KEYS), values, max_size=12)


def text(lines: list[str]) -> str:
    return "\n".join(lines)


def unpainted(line: str) -> str:
    return re.sub(r"\x1b\[\d+m", "", line)


def assert_fits(lines: list[str], width: int) -> None:
    for line in lines:
        assert columns(unpainted(line)) <= width, line
        assert unpainted(line).isprintable()
