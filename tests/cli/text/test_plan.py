"""The text of a plan."""

from __future__ import annotations

from deployd_cli.text.paint import PLAIN
from deployd_cli.text.plan import plan_lines


def test_plan_numbers_its_actions_and_ends_with_the_minimum() -> None:
    actions = [
        {"action": "start", "instance": 5, "generation": 8, "ready": 5},
        {"action": "stop", "instance": 4, "generation": 7, "ready": 4},
    ]
    plan = {"app": "demo", "from": 7, "to": 8, "release": "/srv/demo/8", "actions": actions, "floor": 4}
    assert plan_lines(plan, PLAIN) == [
        "demo: generation 7 → 8: /srv/demo/8",
        "  1. start instance 5 (generation 8)  5 ready",
        "  2. stop instance 4 (generation 7)   4 ready",
        "minimum: 4 ready",
    ]


def test_a_plan_has_its_preview_and_its_smoke_tests() -> None:
    alone = {"action": "pause", "new": 1, "canary": True, "share": 0.0, "preview": True, "smoke": False, "ready": 5}
    shared = {"action": "pause", "new": 1, "canary": False, "share": None, "preview": False, "smoke": True, "ready": 4}
    plan = {"app": "demo", "from": 7, "to": 8, "release": "/srv/demo/8", "actions": [alone, shared], "floor": 4}
    assert plan_lines(plan, PLAIN)[1:3] == [
        "  1. pause at 1 new instance without clients  5 ready",
        "  2. run the smoke tests with 1 new instance  4 ready",
    ]


def test_a_plan_says_what_the_app_file_changes() -> None:
    changes = [
        {"key": "contents.environment_files", "change": "changed", "before": None, "after": None},
        {"key": "environment.KEY", "change": "removed", "before": None, "after": None},
        {"key": "exec", "change": "changed", "before": ["bin/serve"], "after": ["bin/serve", "-q"]},
        {"key": "service.MemoryMax", "change": "added", "before": None, "after": "1G\x1b[31m"},
    ]
    plan = {"app": "demo", "from": 7, "to": 8, "release": "/srv/demo/8", "actions": [], "changes": changes}
    assert plan_lines(plan, PLAIN) == [
        "demo: generation 7 → 8: /srv/demo/8",
        "  ~ contents of environment_files",
        "  - environment.KEY",
        '  - exec = ["bin/serve"]',
        '  + exec = ["bin/serve", "-q"]',
        '  + service.MemoryMax = "1G\\u001b[31m"',
        "nothing to do",
    ]
