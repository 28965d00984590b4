"""What the journal says of one thing: it says it once."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from deployd.model.event import EventName
from deployd.systemd.event_log import EventLog
from deployd.systemd.journal import _AppFields

WHY = "instance 5 exited with status 1 before it was ready"
STARTED = {"event": EventName.STARTED, "from": 2, "to": 3, "release": "/srv/3", "cause": "rollout"}
GATE = {"event": EventName.FAILED_GATE, "from": 2, "to": 3, "instance": 5, "reason": WHY}
BACK = {"event": EventName.ROLLING_BACK, "from": 2, "to": 3, "reason": WHY}
END = {"event": EventName.FINISHED, "from": 2, "to": 3, "generation": 3, "result": "rolled-back", "reason": WHY}


def written(caplog: pytest.LogCaptureFixture, *events: dict[str, Any]) -> list[logging.LogRecord]:
    log = EventLog()
    with caplog.at_level(logging.INFO):
        for event in events:
            log.write("demo", event)
    return caplog.records


def test_a_failed_rollout_has_its_reason_once(caplog: pytest.LogCaptureFixture) -> None:
    records = written(caplog, STARTED, GATE, BACK, END)
    assert [record.getMessage() for record in records] == [
        "demo: rolling out generation 3 from /srv/3 (rollout)",
        f"demo: gate failed: {WHY}",
        "demo: rolling back to generation 2",
        "demo: rollout of generation 3 rolled-back, generation 2 is live",
    ]
    assert [vars(record).get("DEPLOYD_REASON") for record in records] == [None, WHY, WHY, WHY]


def test_a_reason_is_given_again_by_the_next_rollout(caplog: pytest.LogCaptureFixture) -> None:
    records = written(caplog, STARTED, GATE, END, {**STARTED, "to": 4}, {**GATE, "to": 4})
    assert records[-1].getMessage() == f"demo: gate failed: {WHY}"


def test_what_has_another_reason_says_it(caplog: pytest.LogCaptureFixture) -> None:
    aborted = {**END, "result": "aborted", "reason": "aborted by request"}
    assert written(caplog, STARTED, GATE, aborted)[-1].getMessage().endswith("generation 2 is live: aborted by request")
    paused = {"event": EventName.PAUSED, "reason": "paused by request", "from": 2, "to": 3}
    assert written(caplog, STARTED, paused)[-1].getMessage() == "demo: paused: paused by request"


def test_any_message_about_an_app_has_its_fields() -> None:
    def fields(text: object, *arguments: object) -> dict[str, Any]:
        record = logging.LogRecord("x", logging.INFO, "x", 1, text, arguments, None)
        assert _AppFields().filter(record)
        return {key: value for key, value in vars(record).items() if key.isupper()}

    unit = {"UNIT": "demo.service", "OBJECT_SYSTEMD_UNIT": "demo.service"}
    assert fields("%s: %s; trying again", "demo", "no") == {"DEPLOYD_APP": "demo", **unit}
    assert fields("%s", "no") == fields("read %d app files", 3) == fields("ready") == {}


def test_messages_that_begin_with_a_name_begin_with_that_of_an_app() -> None:
    sources = Path(__file__).parents[2] / "daemon" / "deployd"
    call = re.compile(r"log\.(?!debug)\w+\(\s*[\"']%s: [^\n]*?[\"'],\s*([\w.]+)")
    names = {name for path in sources.rglob("*.py") for name in call.findall(path.read_text(encoding="utf-8"))}
    assert names <= {"self._app", "app", "name", "app.name", "change.app.name", "app_name"}, names
