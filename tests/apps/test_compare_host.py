"""deployd compare: two generations that serve at the same time, compared for any user."""

from __future__ import annotations

import json

import pytest

from tests.host.stage import APP, RELEASES, Json, Stage

COMPLAIN = (
    "echo '<3>generation '$DEPLOYD_GENERATION' complains'; echo '<4>warns'; echo fine; exec /usr/bin/python3 app.py"
)
UNKNOWN = ("connections", "share_asked", "share_seen", "open", "cpu_per_1000")
"""Keys that are null for an app whose instances share their sockets."""


def compare(stage: Stage, user: str | None = None) -> list[Json]:
    stage.machine.run(["journalctl", "--sync"])
    done = stage.deployd("compare", APP, "--json", user=user)
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert answer["app"] == APP
    found: list[Json] = answer["generations"]
    return found


def test_a_canary_is_compared_with_the_previous_generation(stage: Stage) -> None:
    stage.deploy("v1", instances=2, exec=["/bin/sh", "-c", COMPLAIN])
    (one,) = compare(stage)
    assert (one["generation"], one["instances"], one["error_lines"]) == (1, 2, 2)
    with stage.begin("rollout", "--release", stage.release("v2"), "--canary", "1") as begun:
        begun.until("paused")
        new, old = compare(stage)
        assert [item["generation"] for item in (new, old)] == [2, 1]
        assert [item["release"] for item in (new, old)] == [f"{RELEASES}/v2", f"{RELEASES}/v1"]
        assert [(item["instances"], item["ready"]) for item in (new, old)] == [(1, 1), (2, 2)]
        assert [item["error_lines"] for item in (new, old)] == [1, 2]
        assert new["errors"] == ["generation 2 complains"]
        assert old["errors"] == ["generation 1 complains"] * 2
        public = [(item["error_lines"], item["errors"]) for item in compare(stage, user="www-data")]
        assert public == [(1, []), (2, [])], "may not read the journal"
        assert new["since"] > old["since"]
        for item in (new, old):
            assert not item["error_lines_more"]
            assert (item["restarts"], item["crashes"]) == (0, 0)
            assert 0 < item["cpu_seconds"] < 60
            assert item["memory_bytes"] is None or item["memory_bytes"] == 0 or item["memory_per_instance"] > 0
            assert [item[key] for key in UNKNOWN] == [None] * len(UNKNOWN)

        # Not the canary: if one that has passed fails, the planner may start a new one, which has no restarts.
        before = stage.pid(1)
        stage.kill(1)
        stage.machine.wait_for(lambda: stage.pid(1) not in (0, before), what="instance 1 to be back")
        stage.machine.wait_unit(f"{APP}@1.service")
        new, old = compare(stage)
        assert (new["restarts"], old["restarts"]) == (0, 1)
        assert (new["error_lines"], old["error_lines"]) == (1, 3), "lines of the dead process count"

        text = stage.deployd("compare", APP, user="www-data").stdout
        lines = text.splitlines()
        assert lines[0].split() == ["GENERATION", "2", "1"]
        assert [line.split()[-2:] for line in lines if line.startswith("error lines")] == [["1", "3"]]
        assert max(map(len, lines)) <= 80
        assert "\x1b" not in text
        assert stage.deployd("resume", APP).returncode == 0
        assert begun.end().result == "succeeded"
    (one,) = compare(stage)
    assert (one["generation"], one["instances"]) == (2, 2)


@pytest.mark.thorough
def test_an_app_that_is_not_deployed_has_no_generations(stage: Stage) -> None:
    assert stage.deployd("compare", APP).returncode == 4
    stage.configure(release=stage.release("v1"))
    done = stage.deployd("compare", APP)
    assert (done.returncode, done.stdout) == (0, "")
    assert stage.json("compare", APP) == {"app": APP, "generations": [], "processes": {}}
