"""`deployd plan` prints what the rollout then does.

With one instance under way at a time the two are equal, line by line. With several, chance decides which of them is
ready or stopped first, hence what is started next and which of the free numbers a new instance gets. Then the two are
equal, between pauses, in which instances are stopped in which order, which are adopted, and how many are started.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.host.stage import APP, INSTANCES, Begun, Json, Stage
from tests.host.unit_journal import capacity

ACTIONS = {"starting": "start", "stopping": "stop", "adopted": "adopt"}

Line = tuple[str | int | bool, ...]
"""(action, instance, generation), or ("pause", new, canary, ready)."""


def planned(plan: Json) -> list[Line]:
    return [
        ("pause", step["new"], step["canary"], step["ready"])
        if step["action"] == "pause"
        else (step["action"], step["instance"], step["generation"])
        for step in plan["actions"]
    ]


def happened(stage: Stage, begun: Begun) -> list[Line]:
    """Follow a rollout to its end and resume it at each pause; return its lines."""
    lines: list[Line] = []
    while (event := begun.next()) is not None:
        if event["event"] == "instance" and event["state"] in ACTIONS:
            lines.append((ACTIONS[event["state"]], event["instance"], event["generation"]))
        elif event["event"] == "paused":
            status = stage.status()
            hold = status["rollout"]["holds"][0]
            lines.append(("pause", hold["new"], hold["canary"], status["ready"]))
            assert stage.deployd("resume", APP).returncode == 0
    assert begun.end().result == "succeeded"
    return lines


def parts(lines: Iterable[Line]) -> list[dict[str, list[Line]]]:
    """Split lines at pauses, and keep of each part what does not depend on which instance is first."""
    found: list[dict[str, list[Line]]] = [{}]
    for line in lines:
        action, generation = line[0], line[2]
        found[-1].setdefault(str(action), []).append((generation,) if action == "start" else line)
        if action == "pause":
            found.append({})
        elif action == "adopt":
            found[-1]["adopt"].sort()
    return found


def numbers(lines: Iterable[Line]) -> list[int]:
    """Return the numbers of the instances that are started."""
    return [int(line[1]) for line in lines if line[0] == "start"]


def assert_as_planned(stage: Stage, plan: Json, lines: list[Line]) -> None:
    assert parts(lines) == parts(planned(plan))
    least = min(capacity(stage.journal.changes(), range(1, INSTANCES + 1)))
    if plan["ceiling"] - plan["floor"] <= 1:
        assert lines == planned(plan)
        assert least == plan["floor"]
    else:
        assert least >= plan["floor"]
        assert max(numbers(lines)) == max(numbers(planned(plan))) <= plan["ceiling"]
        assert len({*numbers(lines)}) == len(numbers(lines))


PACES: dict[str, tuple[dict[str, object], list[str], int]] = {
    "surge": ({}, [], 4),
    "in-place": ({"max_surge": 0}, [], 3),
    "oldest-first": ({"max_surge": "50%", "order": "oldest-first"}, [], 4),
    "surge-2": ({"max_surge": 2}, [], 4),
    "surge-of-all": ({"max_surge": "100%"}, [], 4),
    "unavailable-2": ({"max_surge": 0, "max_unavailable": 2}, [], 2),
    "both-in-percent": ({"max_surge": "30%", "max_unavailable": "49%"}, [], 3),
    "pause-after": ({"pause_after": [1, "75%"]}, [], 4),
    "pause-after-in-place": ({"max_surge": 0, "pause_after": ["50%"]}, [], 3),
    "pause-after-several-at-once": ({"max_surge": 2, "max_unavailable": 1, "pause_after": [2, 3]}, [], 3),
    "canary": ({}, ["--canary", "1"], 4),
    "canary-in-place": ({"max_surge": 0}, ["--canary", "1"], 3),
    "canaries-then-pauses": ({"pause_after": [1, 3]}, ["--canary", "2"], 4),
    "canary-of-all": ({}, ["--canary", "4"], 4),
}


@pytest.mark.sampled
@pytest.mark.parametrize(("pace", "options", "floor"), PACES.values(), ids=PACES)
def test_plan_shows_what_the_rollout_then_does(
    stage: Stage, pace: dict[str, object], options: list[str], floor: int
) -> None:
    stage.deploy("v1")
    stage.configure(rollout=pace)
    release = stage.release("v2", boot=0.3)
    options = ["--release", release, *options]
    plan = stage.json("plan", APP, *options)
    assert (plan["from"], plan["to"], plan["release"], plan["floor"]) == (1, 2, release, floor)
    text = stage.deployd("plan", APP, *options).stdout
    assert f"minimum: {floor} ready" in text
    assert text.count("pause at ") == sum(line[0] == "pause" for line in planned(plan))
    assert len(stage.history()) == 1
    stage.journal.restart()
    with stage.begin("rollout", *options) as begun:
        assert_as_planned(stage, plan, happened(stage, begun))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "settings",
    [{"service": {"MemoryMax": "512M"}}, {"gate": {"timeout": "33s"}}, {"instances": 6}, {"instances": 2}],
    ids=["unit-settings", "gate-timeout", "up", "down"],
)
def test_plan_of_changed_settings_shows_what_apply_then_does(stage: Stage, settings: dict[str, object]) -> None:
    stage.deploy("v1")
    stage.configure(**settings)
    plan = stage.json("plan", APP)
    assert plan["actions"]
    stage.journal.restart()
    with stage.begin("apply") as begun:
        lines = happened(stage, begun)
    assert parts(lines) == parts(planned(plan))
    kept = {line for line in lines if line[0] == "adopt"}
    assert len(kept) == (0 if "service" in settings else min(INSTANCES, len(stage.status()["instances"])))
