"""How status shows an app file that differs from what is live."""

from __future__ import annotations

from typing import Any

import pytest

from deployd.bus import BusError
from deployd_cli.text.drift import drift_lines
from tests.cli.fake_daemon import FakeDaemon, status
from tests.cli.process import deployd, with_daemon

LIVE = "/srv/demo/releases/7"
SAME = {"app": "demo", "generation": 7, "release": LIVE, "changes": []}
CHANGED = "  the app file has 1 changed key, see deployd plan demo; apply with: deployd apply demo"
MOVED = "  release leads to /srv/demo/releases/8 now; roll it out with: deployd rollout demo"


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (SAME, []),
        ({**SAME, "changes": [{"key": "instances"}]}, [CHANGED]),
        ({**SAME, "release": "/srv/demo/releases/8"}, [MOVED]),
        ({**SAME, "release": None}, []),
        ({"app": "demo", "generation": None, "release": LIVE, "changes": []}, []),
        ({"error": "demo.toml: line 3"}, ["  the app file is invalid: demo.toml: line 3"]),
        ({}, []),
    ],
)
def test_a_line_says_what_differs_and_what_to_do(found: dict[str, Any], lines: list[str]) -> None:
    assert drift_lines(status(), found) == lines


def test_a_rollout_in_progress_is_no_difference() -> None:
    rolling = status(rollout={"phase": "rolling", "from": 7, "to": 8, "reason": ""})
    assert drift_lines(rolling, {**SAME, "changes": [{"key": "instances"}]}) == []


def test_status_asks_and_shows_nothing_that_it_may_not_know(address: str) -> None:
    async def work(daemon: FakeDaemon) -> None:
        daemon.answers["demo", "Changes"] = {**SAME, "changes": [{"key": "instances"}]}
        assert (await deployd(address, "status", "demo")).out.splitlines()[-1] == CHANGED
        assert "changed key" not in (await deployd(address, "status", "demo", "--json")).out
        daemon.answers["demo", "Changes"] = BusError("org.deployd1.Error.AccessDenied", "not for you")
        done = await deployd(address, "status", "demo")
        assert (done.status, done.err) == (0, "")
        daemon.answers["demo", "Changes"] = BusError("org.deployd1.Error.InvalidFile", "demo.toml: line 3")
        assert (await deployd(address, "status", "demo")).out.splitlines()[-1].endswith("invalid: demo.toml: line 3")

    with_daemon(address, work)
