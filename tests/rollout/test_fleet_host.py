"""A driver of several hosts on one of them: it may die and begin again, and is refused once it is overtaken."""

from __future__ import annotations

import json
from typing import Any

from tests.host.stage import APP, Stage
from tests.host.steered import unharmed


def request(stage: Stage, release: str, fleet: str, token: int, *options: str) -> tuple[int, dict[str, Any], str]:
    """Return exit status, last event and messages of a driver's command."""
    argv = ("rollout", APP, "--release", release, "--fleet", fleet, "--token", str(token), "--json", *options)
    done = stage.deployd(*argv)
    lines = done.stdout.splitlines()
    return done.returncode, json.loads(lines[-1]) if lines else {}, done.stderr


def test_a_driver_may_begin_again_and_never_overtakes(stage: Stage) -> None:
    stage.deploy("v1")
    v2, bad, v3 = stage.release("v2"), stage.release("bad", "crash"), stage.release("v3", barrier=True)
    with stage.load(rate=100, keepalive=2) as load:
        status, begun, _ = request(stage, v2, "v2", 10, "--no-block")
        assert (status, begun["event"], begun["to"]) == (0, "begun", 2)
        status, ended, _ = request(stage, v2, "v2", 10)  # the driver died, and attaches
        assert (status, ended["event"], ended["result"], ended["to"]) == (0, "finished", "succeeded", 2)
        stage.machine.run(["systemctl", "restart", "deployd"])
        status, again, _ = request(stage, v2, "v2", 10)
        assert (status, again["result"], again["to"]) == (0, "succeeded", 2), "nothing is rolled out twice"
        status, failed, _ = request(stage, bad, "bad", 11)
        assert (status, failed["result"], failed["to"]) == (1, "rolled-back", 3)
        status, same, _ = request(stage, bad, "bad", 11)
        assert (status, same["result"], same["reason"]) == (1, "rolled-back", failed["reason"])
        status, _, why = request(stage, v3, "late", 9)
        assert (status, "the token 9 is lower than 11, which demo has accepted with bad" in why) == (3, True), why
        status, begun, _ = request(stage, v3, "v3", 12, "--no-block")
        assert (status, begun["event"], begun["to"]) == (0, "begun", 4)
        late = stage.deployd("abort", APP, "--token", "11")
        assert (late.returncode, "has the token 12" in late.stderr) == (3, True), late.stderr
        stage.admit()
        status, third, _ = request(stage, v3, "v3", 12)
        assert (status, third["result"], third["to"]) == (0, "succeeded", 4)
        unharmed(load.stop())
    history = json.loads(stage.deployd("history", APP, "--json").stdout)["generations"]
    assert [item["fleet"] for item in history] == [
        {"id": "v3", "token": 12},
        {"id": "bad", "token": 11},
        {"id": "v2", "token": 10},
        None,
    ]
    assert "fleet rollout v3, token 12" in stage.deployd("history", APP).stdout
    assert json.loads(stage.deployd("status", APP, "--json").stdout)["fleet"] == {"id": "v3", "token": 12}
