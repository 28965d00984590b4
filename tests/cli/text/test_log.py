"""Lines of the journal with the instance and the generation that wrote them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.model.scope import of_user
from deployd_cli.text.log import FIELDS, Origin, is_repeated, log_lines, origin
from deployd_cli.text.paint import PLAIN, Paint
from tests.cli.text.any_json import odd

ID = "a" * 32
OWN = {"_SYSTEMD_UNIT": "shop@3.service", "_SYSTEMD_INVOCATION_ID": ID, "_PID": "73", "MESSAGE": "GET / 200"}
PID1 = {"_PID": "1", "UNIT": "shop@3.service", "INVOCATION_ID": ID, "_SYSTEMD_UNIT": "init.scope"}
DAEMON = {"_SYSTEMD_UNIT": "deployd.service", "_PID": "9", "DEPLOYD_GENERATION": "7", "UNIT": "shop@3.service"}


def shown(entry: dict[str, Any], generation: int | None = None) -> list[str]:
    return [line.removeprefix("- ") for line in log_lines("shop", entry, generation, PLAIN)]


def test_a_line_begins_with_instance_and_generation() -> None:
    assert shown(OWN, 7) == ["shop@3 gen 7 | GET / 200"]
    assert shown(OWN) == ["shop@3 | GET / 200"], "of a generation that was removed"
    assert shown({**OWN, "MESSAGE": "Traceback:\n  line 1\n"}, 7) == [
        "shop@3 gen 7 | Traceback:",
        "shop@3 gen 7 |   line 1",
    ]
    assert shown({**OWN, "MESSAGE": list(b"caf\xe9")}, 7) == ["shop@3 gen 7 | caf\ufffd"]
    assert shown({**OWN, "MESSAGE": "\x1b[31mred\x1b[0m"}, 7) == ["shop@3 gen 7 | red"]


def test_systemd_and_deployd_are_named() -> None:
    exited = {**PID1, "MESSAGE": "shop@3.service: Main process exited, code=exited, status=1/FAILURE"}
    assert shown(exited, 7) == ["shop@3 gen 7 | systemd: Main process exited, code=exited, status=1/FAILURE"]
    assert shown({**DAEMON, "MESSAGE": "shop: rolling back to generation 6"}) == [
        "deployd gen 7 | rolling back to generation 6"
    ]
    hook = {"_SYSTEMD_UNIT": "shop:hook.service", "DEPLOYD_GENERATION": "8", "MESSAGE": "migrated"}
    assert shown(hook) == ["shop:hook gen 8 | migrated"]


def test_only_fields_that_journald_adds_are_believed() -> None:
    forged = {"_UID": "1000", "SYSLOG_IDENTIFIER": "shop@3", "UNIT": "shop@3.service", "INVOCATION_ID": ID}
    forged |= {"DEPLOYD_GENERATION": "7", "MESSAGE": "all is well"}
    assert shown({**forged, "_SYSTEMD_UNIT": "user@1000.service"}) == ["user@1000.service | all is well"]
    assert shown(forged) == ["uid 1000 | all is well"]
    assert origin("shop", forged).invocation == ""
    assert not is_repeated("shop", {**forged, "MESSAGE_ID": "39f53479d3a045ac8e11786248231fbf"})


@pytest.mark.parametrize(
    ("unit", "message_id", "repeated"),
    [
        ("shop@3.service", "39f53479d3a045ac8e11786248231fbf", True),
        ("shop@3.socket", "39f53479d3a045ac8e11786248231fbf", True),
        ("shop:hook.service", "7d4958e842da4a758f6c1cdc7b36dcc5", True),
        ("shop@3.service", "98e322203f7a4ed290d09fe03c09fe15", False),  # a process has exited
        ("shop.service", "39f53479d3a045ac8e11786248231fbf", False),
        ("shop.socket", "39f53479d3a045ac8e11786248231fbf", False),
        ("shopping@3.service", "39f53479d3a045ac8e11786248231fbf", False),
        ("shop@3.service", "", False),
    ],
)
def test_what_deployd_says_with_the_reason_is_not_shown_twice(unit: str, message_id: str, repeated: bool) -> None:
    assert is_repeated("shop", {"_PID": "1", "UNIT": unit, "MESSAGE_ID": message_id}) is repeated


def test_times_and_priorities() -> None:
    (line,) = log_lines("shop", {**OWN, "__REALTIME_TIMESTAMP": "1767323045000000"}, 7, PLAIN)
    assert re.fullmatch(r"Jan 0\d \d\d:\d\d:05 shop@3 gen 7 \| GET / 200", line)
    (line,) = log_lines("shop", {**OWN, "PRIORITY": "3"}, 7, Paint(on=True))
    assert line.endswith("| \x1b[31mGET / 200\x1b[0m")


def test_of_a_user_the_fields_of_user_units_say_who_wrote_an_entry() -> None:
    names = of_user(1000, "/people/dora", {}).journal
    own = {"_SYSTEMD_UNIT": "user@1000.service", "_UID": "1000", "_SYSTEMD_INVOCATION_ID": "ab"}
    written = origin("shop", {**own, "_SYSTEMD_USER_UNIT": "shop@3.service"}, names)
    assert written == Origin("shop@3", "", "ab")
    about = {**own, "_SYSTEMD_USER_UNIT": "init.scope", "USER_UNIT": "shop@3.service", "USER_INVOCATION_ID": "cd"}
    assert origin("shop", about, names) == Origin("shop@3", "systemd", "cd")
    assert is_repeated("shop", {**about, "MESSAGE_ID": "39f53479d3a045ac8e11786248231fbf"}, names)
    assert origin("shop", {**about, "_UID": "1001"}, names).speaker == ""
    assert origin("shop", {**own, "_SYSTEMD_USER_UNIT": "deployd.service"}, names).label == "deployd"
    late = {"_UID": "1000", "SYSLOG_IDENTIFIER": "shop@3"}
    assert origin("shop", late, names).label == "shop@3", "all that is known of a process that has ended"
    assert origin("shop", {**late, "_UID": "1001"}, names).label == "uid 1001"
    assert origin("shop", late).label == "uid 1000"


fields = st.dictionaries(st.sampled_from([*FIELDS, "__REALTIME_TIMESTAMP"]), st.text() | st.lists(st.integers()))


@given(fields | odd)
def test_any_entry_can_be_shown(entry: dict[str, Any]) -> None:
    assert isinstance(origin("shop", entry), Origin)
    is_repeated("shop", entry)
    assert all(line.isprintable() for line in log_lines("shop", entry, None, PLAIN))
