"""The sentences for events."""

from __future__ import annotations

from typing import Any

import pytest

from deployd_cli.text.event import event_line
from deployd_cli.text.paint import PLAIN
from deployd_cli.text.plan import plan_lines
from deployd_cli.text.rollout import rollout_of

END = {"event": "finished", "app": "demo", "from": 7, "to": 8}


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (
            {"result": "succeeded", "replaced": [1, 2, 3, 4], "adopted": [], "duration": 6.2},
            "demo: generation 8 is live: 4 replaced, 0 adopted, 6.2 s",
        ),
        (
            {"result": "rolled-back", "reason": "instance 5 exited with status 3 before it was ready"},
            "demo: generation 8 failed and was rolled back to 7: instance 5 exited with status 3 before it was ready",
        ),
        ({"result": "failed", "reason": "no"}, "demo: generation 8 failed: no"),
        ({"result": "aborted"}, "demo: generation 8 was aborted and rolled back to 7"),
        ({"result": "aborted", "from": None}, "demo: generation 8 was aborted and removed"),
        ({"result": "rolled-back", "from": None, "reason": "no"}, "demo: generation 8 failed and was removed: no"),
        ({"result": "superseded", "reason": None}, "demo: generation 8 was superseded by a newer rollout"),
        ({"result": "novel"}, "demo: generation 8 ended as novel"),
    ],
)
def test_every_result_has_its_sentence(event: dict[str, Any], shown: str) -> None:
    assert event_line({**END, **event}) == shown


def test_a_first_deployment_has_no_generation_before_it() -> None:
    first = {"app": "demo", "from": None, "to": 1, "release": "/srv/demo/1"}
    assert event_line({**first, "event": "started"}) == "demo: first deployment, generation 1: /srv/demo/1"
    assert event_line({**first, "event": "rolling-back"}) == "demo: removing the failed first deployment"
    assert event_line({**END, "event": "rolling-back"}) == "demo: rolling back to generation 7"
    assert plan_lines({**first, "actions": []}, PLAIN)[0] == "demo: first deployment, generation 1: /srv/demo/1"
    phases = ("rolling", "paused", "rolling-back")
    assert [rollout_of({"rollout": {**first, "phase": phase}}) for phase in phases] == [
        "first deployment, generation 1",
        "first deployment, paused, generation 1",
        "removing the failed first deployment",
    ]


def test_a_requested_pause_is_called_so_once() -> None:
    event = {
        "event": "paused",
        "app": "demo",
        "reason": "paused by request",
        "how": "continue with: deployd resume demo",
    }
    assert event_line(event) == "demo: paused by request; continue with: deployd resume demo"


def test_an_event_of_a_process_type_names_it() -> None:
    event = {"event": "instance", "app": "demo", "instance": 1, "generation": 8, "state": "ready", "process": "worker"}
    assert event_line(event) == "demo: worker: instance 1 (generation 8) ready"
