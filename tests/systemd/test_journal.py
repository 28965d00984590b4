"""The journal's entries: every event has a message, fields and a page in the catalog."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from deployd.model.event import EventName
from deployd.systemd import journal

CATALOG = Path(__file__).parents[2] / "packaging" / "catalog" / "deployd.catalog"


def test_the_catalog_explains_every_message_and_no_other() -> None:
    explained = re.findall(r"^-- ([0-9a-f]{32})$", CATALOG.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(explained) == sorted(journal.MESSAGE_IDS.values())
    assert len(set(explained)) == len(explained)


@pytest.mark.parametrize("event", journal.MESSAGE_IDS)
def test_an_entry_carries_the_fields(event: EventName) -> None:
    data = {"instance": 3, "generation": 7, "to": 7, "state": "ready", "release": "/r", "cause": "rollout"}
    data |= {"result": "succeeded", "reason": "because", "by": 8}
    fields = journal.fields("demo", event, data)
    assert fields == {
        "DEPLOYD_APP": "demo",
        "DEPLOYD_GENERATION": "7",
        "DEPLOYD_INSTANCE": "3",
        "DEPLOYD_REASON": "because",
        "UNIT": "demo@3.service",
        "OBJECT_SYSTEMD_UNIT": "demo.service",
        "MESSAGE_ID": journal.MESSAGE_IDS[event],
    }
    assert journal.sentence("demo", event, data).startswith("demo: ")


def test_failures_are_warnings() -> None:
    assert journal.level(EventName.FINISHED, {"result": "rolled-back"}) == logging.WARNING
    assert journal.level(EventName.FAILED_GATE, {}) == logging.WARNING
    assert journal.level(EventName.FINISHED, {"result": "succeeded"}) == logging.INFO
    assert journal.level(EventName.INSTANCE, {"state": "ready"}) == logging.INFO


@pytest.mark.parametrize(
    ("origin", "words"), [(3, "rolling back to generation 3"), (None, "removing the failed first deployment")]
)
def test_a_rollback_names_its_goal(origin: int | None, words: str) -> None:
    data = {"from": origin, "to": 4, "reason": "instance 1 exited with status 1"}
    assert journal.sentence("demo", EventName.ROLLING_BACK, data) == f"demo: {words}: instance 1 exited with status 1"


def test_a_message_names_the_hook_once() -> None:
    hook = {"hook": "before", "command": "./bin/migrate", "state": "started"}
    assert journal.sentence("demo", EventName.HOOK, hook) == "demo: before hook ./bin/migrate started"
    failed = {**hook, "state": "failed", "reason": "before hook ./bin/migrate exited with status 3"}
    assert journal.sentence("demo", EventName.HOOK, failed) == "demo: before hook ./bin/migrate exited with status 3"
    assert [journal.level(EventName.HOOK, data) for data in (hook, failed)] == [logging.INFO, logging.WARNING]
