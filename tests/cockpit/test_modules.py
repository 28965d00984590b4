"""What the page decides: called in Node, with documents that the daemon makes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.model.event import EventName
from deployd.model.generation import Result
from deployd.model.instance import State
from deployd.model.rollout import Phase
from tests.cockpit.modules import Failed, Modules
from tests.docs.readme import CHECKOUT
from tests.monitoring.statuses import statuses

API = ElementTree.parse(CHECKOUT / "units/org.deployd1.xml").getroot()
EVENT = {"app": "demo", "time": "2026-11-26T12:00:00+00:00", "from": 1, "to": 2, "generation": 2, "instance": 3}


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Modules]:
    found = Modules(tmp_path_factory.mktemp("page"))
    yield found
    found.close()


@given(statuses)
def test_every_status_has_its_actions_and_words(modules: Modules, status: Mapping[str, Any]) -> None:
    actions = modules.call("status.js", "actions", status)
    rollout = status["rollout"]
    assert not {"rollout", "rollback", "apply", "accept"} & set(actions) or rollout is None
    assert not {"pause", "resume", "abort", "weight"} & set(actions) or rollout is not None
    assert {"pause", "resume"} - set(actions), "one of both at most"
    assert ("weight" not in actions) or status["routing"] == "steered"
    assert ("weight" not in actions) or not any(hold["preview"] for hold in rollout["holds"][:1])
    assert modules.call("status.js", "health", status)["text"]
    warnings = modules.call("status.js", "warnings", status)
    assert all(item["text"] for item in warnings)
    assert (status["history_error"] in [item["text"] for item in warnings]) == bool(status["history_error"])


@given(statuses)
def test_every_instance_is_in_one_generation(modules: Modules, status: Mapping[str, Any]) -> None:
    groups = modules.call("status.js", "generations", status)
    shown = [item["instance"] for group in groups for item in group["instances"]]
    assert sorted(shown) == sorted(item["instance"] for item in status["instances"])
    numbers = [group["generation"] for group in groups]
    assert numbers == sorted(numbers, key=lambda number: -(number or 0))


@given(statuses.filter(lambda status: status["rollout"] is not None))
def test_a_rollout_counts_what_it_leads_to(modules: Modules, status: Mapping[str, Any]) -> None:
    progress = modules.call("status.js", "progress", status)
    counted = modules.call("status.js", "readiness", status)
    assert int(counted.split()[0]) <= status["desired"], "never '5 of 4 ready'"
    assert 0 <= progress["ready"] <= progress["desired"] == status["desired"]
    back = status["rollout"]["phase"] == Phase.ROLLING_BACK
    assert progress["goal"] == status["rollout"]["from" if back else "to"]
    assert modules.call("status.js", "standing", status)


@given(statuses)
def test_weights_fill_the_bar_at_most(modules: Modules, status: Mapping[str, Any]) -> None:
    shares = modules.call("status.js", "weights", status)
    assert math.fsum(item["shown"] for item in shares) <= 100
    assert all(modules.call("status.js", "weightText", item) for item in status["shares"])


CHANGED = {"key": "service.MemoryMax", "change": "changed", "before": None, "after": None}


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        (None, []),
        ({"error": "demo.toml: no such key"}, ["the app file is invalid: demo.toml: no such key"]),
        ({"generation": None, "release": "/srv/v2", "changes": []}, []),
        ({"generation": 7, "release": "/srv/v1", "changes": []}, []),
        ({"generation": 7, "release": None, "changes": []}, []),
        (
            {"generation": 7, "release": "/srv/v2", "changes": [CHANGED]},
            [
                "the app file has changed since generation 7: service.MemoryMax",
                "the release of the app file leads to /srv/v2 now",
            ],
        ),
    ],
)
def test_it_says_how_the_app_file_differs(modules: Modules, changes: dict[str, Any] | None, texts: list[str]) -> None:
    status = {"release": "/srv/v1", "rollout": None}
    assert [item["text"] for item in modules.call("status.js", "drift", status, changes)] == texts


def test_it_has_words_for_every_phase_result_and_state(modules: Modules) -> None:
    for phase in Phase:
        assert modules.call("status.js", "phase", {"phase": phase})["text"] != phase
    for result in Result:
        assert modules.call("status.js", "result", result)["text"] != result
    for state in State:
        assert modules.call("status.js", "stateTone", state)


@pytest.mark.parametrize("name", list(EventName))
def test_it_has_a_sentence_for_every_event(modules: Modules, name: str) -> None:
    more: dict[str, Any] = {
        "state": "ready",
        "reason": "because",
        "cause": "rollout",
        "hook": "before",
        "command": ["./migrate"],
    }
    more |= {"address": "[::]:80", "result": "succeeded", "duration": 1.25, "replaced": [1], "adopted": []}
    more |= {"waits_for": "a canary", "until": EVENT["time"], "by": 4, "open": False}
    shown = modules.call("events.js", "describe", {**EVENT, **more, "event": name})
    assert shown["text"]
    assert "undefined" not in shown["text"]
    assert shown["tone"] in {"success", "info", "warning", "danger"}


def test_an_event_of_a_later_daemon_is_left_out(modules: Modules) -> None:
    assert modules.call("events.js", "describe", {**EVENT, "event": "unknown"}) is None


def test_it_says_how_a_rollout_ended(modules: Modules) -> None:
    ended = {**EVENT, "event": "finished", "result": "rolled-back", "reason": "instance 3 exited with status 1"}
    shown = modules.call("events.js", "describe", {**ended, "replaced": [], "adopted": [], "duration": 0.31})
    assert shown["tone"] == "danger"
    reason = "instance 3 exited with status 1"
    assert shown["text"] == f"generation 2 rolled-back: {reason}; 0 instances replaced, 0 adopted, 0.3 s"


@pytest.mark.parametrize(
    ("text", "shown"), [("it failed", "It failed"), ("demo: it failed", "demo: it failed"), ("", "")]
)
def test_sentences_begin_with_a_capital_or_the_name_of_the_app(modules: Modules, text: str, shown: str) -> None:
    assert modules.call("format.js", "sentence", text, "demo") == shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (90, "2 min"), (3700, "1 h 2 min"), (200000, "2 d 7 h")]
)
def test_durations(modules: Modules, seconds: float, text: str) -> None:
    assert modules.call("format.js", "duration", seconds) == text


@given(st.floats(0, 1e9))
def test_a_duration_has_parts_below_their_limits(modules: Modules, seconds: float) -> None:
    words = modules.call("format.js", "duration", seconds).split()
    parts = dict(zip(words[1::2], map(float, words[0::2]), strict=True))
    limits = {"s": 60, "min": 60, "h": 24 if "d" in parts else 48, "d": math.inf}
    assert all(value < limits[unit] for unit, value in parts.items())


def test_a_plan_is_a_few_sentences(modules: Modules) -> None:
    def action(kind: str, instance: int, generation: int) -> dict[str, Any]:
        return {"action": kind, "instance": instance, "generation": generation, "ready": 4}

    pause = {"action": "pause", "new": 1, "canary": True, "share": 0.05, "ready": 5}
    actions = [action("start", 5, 8), pause, action("stop", 4, 7), action("start", 4, 8), action("stop", 3, 7)]
    assert modules.call("plan.js", "steps", {"actions": actions}) == [
        "Start 1 instance of generation 8",
        "Pause with 1 new instance alongside all old ones with 5 % of new connections, 5 ready, until it is resumed",
        "Start 1 instance of generation 8, stop 2 instances of generation 7",
    ]
    alone = {"action": "pause", "new": 1, "canary": True, "share": 0, "preview": True, "smoke": False, "ready": 5}
    assert modules.call("plan.js", "steps", {"actions": [alone, {**alone, "smoke": True}]}) == [
        "Pause with 1 new instance that no client reaches, 5 ready, until it is resumed",
        "Run the smoke tests with 1 new instance, 5 ready",
    ]
    assert modules.call("plan.js", "steps", {"actions": []}) == []


@pytest.mark.parametrize(
    ("canary", "options"),
    [
        ("", {}),
        ("2", {"canary": ["u", 2]}),
        ("5%", {"canary_share": ["d", 0.05]}),
        (" 0.5 % ", {"canary_share": ["d", 0.005]}),
    ],
)
def test_what_the_form_asks_for(modules: Modules, canary: str, options: dict[str, Any]) -> None:
    assert modules.call("start.js", "chosen", {"release": " ", "canary": canary}) == options
    named = modules.call("start.js", "chosen", {"release": " /srv/v2 ", "canary": canary})
    assert named == {"release": ["s", "/srv/v2"], **options}


@pytest.mark.parametrize("canary", ["0", "-1", "1.5", "0%", "101%", "one"])
def test_a_canary_that_cannot_be_is_refused(modules: Modules, canary: str) -> None:
    with pytest.raises(Failed, match="Canary is a number of instances, such as 1, or a weight, such as 5%"):
        modules.call("start.js", "chosen", {"release": "", "canary": canary})


def test_it_calls_the_bus_as_the_interface_says(modules: Modules) -> None:
    calls = modules.call("recorder.mjs", "calls")
    for call in calls:
        interface = next(item for item in API if item.get("name") == call["interface"])
        member = next(item for item in interface if item.get("name") == call["member"])
        if "path" not in call:
            assert member.tag == "signal"
            continue
        assert member.tag == "method"
        taken = [arg.get("type") for arg in member.findall("arg") if arg.get("direction") == "in"]
        assert call["type"] == "".join(map(str, taken)), call
        assert len(call["values"]) == len(taken), call
    assert len(calls) > 10


@pytest.mark.parametrize(
    ("error", "administrator", "text"),
    [
        (
            {
                "name": "org.deployd1.Error.AccessDenied",
                "message": "not allowed: Pause needs root or the polkit action org.deployd1.pause for demo; "
                "try again with sudo, or on a terminal, where polkit may ask for a password",
            },
            False,
            "Not allowed: Pause needs root or the polkit action org.deployd1.pause for demo; "
            "turn on administrative access at the top of the page",
        ),
        ({"name": "org.deployd1.Error.Refused", "message": "nothing to do\nline of a journal"}, True, "Nothing to do"),
        (
            {"problem": "not-found"},
            True,
            "The daemon is not running, and could not be started; see: systemctl status deployd",
        ),
    ],
)
def test_errors_are_one_sentence(modules: Modules, error: dict[str, str], administrator: bool, text: str) -> None:
    assert modules.call("recorder.mjs", "sentence", error, administrator) == text
